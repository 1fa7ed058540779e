"""The perceptual hash of a clip: near to that of every copy of it, however scaled, recoloured or encoded again.

A frame's hash is pHash's (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010):
brightness at 32 x 32, its DCT, of that the 8 x 8 lowest frequencies without the first row and column, one bit each for
whether it exceeds their median. A clip's is that of the mean of a few of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Thumbnail = NDArray[np.uint8]  # [32, 32], brightness

_SIDE = 32
_FRAMES = 8
_LOW = 8
_FLAT = 1.0  # grey levels; a picture that varies less has nothing to tell it by


def thumbnail(picture: NDArray[np.uint8]) -> Thumbnail:
    """Brightness of a uint8 BGR picture [H, W, 3] at 32 x 32."""
    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def clip_hash(thumbnails: Sequence[Thumbnail]) -> int:
    """64 bits from the thumbnails of all frames of a clip; 0 if its picture is flat, as black is: it says nothing."""
    picks = np.linspace(0, len(thumbnails) - 1, min(_FRAMES, len(thumbnails))).round().astype(int)
    mean = np.asarray(np.mean([thumbnails[pick] for pick in picks], axis=0), dtype=np.float32)
    if mean.std() < _FLAT:
        return 0
    low = cv2.dct(mean)[1 : _LOW + 1, 1 : _LOW + 1]
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
