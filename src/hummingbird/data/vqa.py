"""Quality of a clip: exposure, which needs no model, and the verdict over exposure and DOVER's scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Video = NDArray[np.uint8]  # [T, H, W, 3], RGB

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709
_PERCENT = 2


@dataclass(frozen=True, slots=True)
class Exposure:
    """Luma, 0..1, that all but 2 % of the pixels stay below (``highlights``) and above (``shadows``)."""

    highlights: float
    shadows: float


def exposure(video: Video) -> Exposure:
    """Measure a clip, uint8 RGB [T, H, W, 3]. Percentiles, so that a logo or a lamp does not decide."""
    luma = video.astype(np.float32) @ (_LUMA / 255)
    shadows, highlights = np.percentile(luma, [_PERCENT, 100 - _PERCENT])
    return Exposure(highlights=float(highlights), shadows=float(shadows))


def exposure_reason(measured: Exposure, *, min_highlights: float, max_shadows: float) -> str:
    """``too_dark`` if even the highlights are dark, ``overexposed`` if even the shadows are bright, else ""."""
    if measured.highlights < min_highlights:
        return "too_dark"
    return "overexposed" if measured.shadows > max_shadows else ""
