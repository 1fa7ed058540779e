"""Where raw clips come from; :func:`open_source` opens what ``download.source`` names."""

from hummingbird.data.sources.base import ClipSource, Item, RawClip, Source, draw
from hummingbird.data.sources.registry import FORMATS, open_source
from hummingbird.data.sources.world import TRUTH_SCHEMA, WorldSource

__all__ = ["FORMATS", "TRUTH_SCHEMA", "ClipSource", "Item", "RawClip", "Source", "WorldSource", "draw", "open_source"]
