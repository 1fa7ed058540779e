"""From a video as it was found to clips that every later step can rely on."""

from hummingbird.data.preparation.prepare import Prepared, prepare

__all__ = ["Prepared", "prepare"]
