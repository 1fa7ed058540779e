"""DOVER, the video quality model: network, views and fusion of its scores."""

from hummingbird.models.dover.model import Dover, QualityScores
from hummingbird.models.dover.views import ViewSizes

__all__ = ["Dover", "QualityScores", "ViewSizes"]
