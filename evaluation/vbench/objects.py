"""Finding the two objects of a clip of the miniature world, by colour, and reading off their shapes.

Stands in for the object detector of VBench's ``multiple_objects`` and ``spatial_relationship``. Objects are bright and
saturated and backgrounds muted, so pixels near a palette colour are object pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hummingbird.data import world

_PALETTE = np.array(list(world.COLORS.values()), np.float32)
_MAX_DISTANCE = 100.0  # in RGB space, from a palette colour
_MIN_BRIGHTNESS = 150.0  # of the strongest channel: brighter than any background but stars
_MIN_AREA = 8 / 32**2  # of the frame
_NEIGHBOURS = np.ones((3, 3), np.uint8)
#: Half the side of the window around an object, in half-frames. It magnifies an object of a pair to about the size
#: at which objects stand alone, where the probe is at home, and leaves out most of the other one.
_WINDOW = 0.7


@dataclass(frozen=True, slots=True)
class Found:
    """One colour in a clip: its centre per frame [T, 2] (row, column; NaN where it is not there)."""

    centers: NDArray[np.float64]

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Per frame [T]."""
        return ~np.isnan(self.centers[:, 0])


def label_colors(video: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Index of the palette colour of every pixel [T, H, W]; -1 where it is not an object's.

    Along the edge of an object its colour mixes with the background's, to orange around a yellow one on brick. So a
    pixel beside a colour that fills more of the frame is not counted.
    """
    pixels = video.astype(np.float32)
    distance = np.linalg.norm(pixels[..., None, :] - _PALETTE, axis=-1)
    is_object = (distance.min(-1) < _MAX_DISTANCE) & (pixels.max(-1) >= _MIN_BRIGHTNESS)
    labels = np.where(is_object, distance.argmin(-1), -1)
    for frame in labels:
        areas = np.bincount(frame[frame >= 0], minlength=len(_PALETTE))
        claimed = np.zeros(frame.shape, np.uint8)
        for index in np.argsort(-areas, kind="stable"):
            frame[(frame == index) & (claimed > 0)] = -1
            claimed |= cv2.dilate((frame == index).astype(np.uint8), _NEIGHBOURS)
    return labels


def find(labels: NDArray[np.int64], color: str) -> Found:
    """Centre of the pixels of a colour, per frame, in the labels of :func:`label_colors`."""
    index = list(world.COLORS).index(color)
    least = _MIN_AREA * labels.shape[1] * labels.shape[2]
    centers = np.full((len(labels), 2), np.nan)
    for t, frame in enumerate(labels):
        where = np.argwhere(frame == index)
        if len(where) >= least:
            centers[t] = where.mean(axis=0)
    return Found(centers)


def crop(video: NDArray[np.uint8], found: Found) -> NDArray[np.uint8]:
    """The clip [T, H, W, 3] seen through a window that follows the object, magnified to the full frame.

    Frames without the object show the window of the nearest frame with it; there must be at least one.
    """
    height, width = video.shape[1:3]
    scale = 1 / _WINDOW
    seen = np.flatnonzero(found.visible)
    out = np.empty_like(video)
    for t, frame in enumerate(video):
        row, column = found.centers[seen[np.abs(seen - t).argmin()]]
        shift = np.array(
            [[scale, 0, (width - 1) / 2 - scale * column], [0, scale, (height - 1) / 2 - scale * row]], np.float32
        )
        out[t] = cv2.warpAffine(frame, shift, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return out


def relation_holds(first: Found, second: Found, relation: str) -> NDArray[np.bool_]:
    """Per frame [T]: both are there, and the first is ``relation`` (``left of``, ...) the second, on the main axis."""
    rows, columns = (first.centers - second.centers).T
    sideways = np.abs(columns) > np.abs(rows)
    holds = {
        "left of": sideways & (columns < 0),
        "right of": sideways & (columns > 0),
        "above": ~sideways & (rows < 0),
        "below": ~sideways & (rows > 0),
    }[relation]
    return holds & first.visible & second.visible
