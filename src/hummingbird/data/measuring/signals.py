"""Cheap signals of a bad clip, which need no model: darkness, glare, frozen frames, black bars, blocks.

All are 0..1. They are measured on a few small frames, but for blocks, which only full size shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hummingbird.data.bounds import SIGNAL_BOUNDS, first_crossed
from hummingbird.params import SignalBounds

Frame = NDArray[np.uint8]  # [H, W, 3], RGB
Luma = NDArray[np.uint8]  # [H, W]

_BT709 = np.array([[0.2126, 0.7152, 0.0722]], np.float32)
_PERCENT = 2  # of the pixels that may be darker than the shadows, or brighter than the highlights
_BLACK = 32  # luma (of 255) that nearly all pixels of a black frame stay below; video black is 16 or 0
_BAR = 28  # ... and every colour of all pixels in a row or column of a black bar
_PLAIN = 3.0  # standard deviation of such a row or column: night may be as dark, but is not as plain
_REPEATED = 2  # levels by which compression may change a repeated frame
_MOST_PIXELS = 99.9  # percent
_BLOCK = 8  # pixels, of JPEG's and of most video codecs' transforms
_WINDOW = 512  # pixels from the middle of a frame in which blocks are looked for


@dataclass(frozen=True, slots=True)
class Signals:
    """``highlights`` and ``shadows`` are the luma that all but 2 % of the pixels stay below, and above."""

    highlights: float
    shadows: float
    black: float  # share of the frames that are black
    frozen: float  # share of the frames that repeat the one before
    bars: float  # share of the picture that black bars at opposite sides take
    blockiness: float  # how much steeper the picture is at the edges of blocks than within: 0 alike, 1 only there


def measure_signals(spread: Sequence[Frame], pairs: Sequence[tuple[Frame, Frame]], full: Sequence[Luma]) -> Signals:
    """Measure a clip.

    Args:
        spread: frames from all over the clip, RGB, scaled down.
        pairs: neighbouring frames, scaled down.
        full: the luma of some frames at full size.
    """
    luma = [luma_of(frame) for frame in spread]
    shadows, highlights = _exposure(luma)
    return Signals(
        highlights=highlights,
        shadows=shadows,
        black=float(np.mean([np.percentile(image, 100 - _PERCENT) < _BLACK for image in luma])),
        frozen=float(np.mean([_is_repeated(*pair) for pair in pairs])) if pairs else 0.0,
        bars=_bars(np.stack([frame.max(axis=2) for frame in spread])),
        blockiness=float(np.median([blockiness(image) for image in full])),
    )


def condemn(signals: Signals, bounds: SignalBounds) -> str:
    """The reason for which a clip should be dropped: the first signal that is out of bounds, or ""."""
    return first_crossed(SIGNAL_BOUNDS, asdict(signals), bounds)


def luma_of(frame: Frame) -> Luma:
    """BT.709 luma of an RGB frame."""
    return np.asarray(cv2.transform(frame, _BT709), np.uint8)


def _exposure(luma: list[Luma]) -> tuple[float, float]:
    """Percentiles over all pixels, so that a logo or a lamp does not decide."""
    counts = np.cumsum(np.bincount(np.concatenate([image.ravel() for image in luma]), minlength=256))
    low, high = np.searchsorted(counts, counts[-1] * np.array([_PERCENT, 100 - _PERCENT]) / 100)
    return float(low) / 255, float(high) / 255


def _is_repeated(first: Frame, second: Frame) -> bool:
    return bool(np.percentile(cv2.absdiff(first, second), _MOST_PIXELS) <= _REPEATED)


def _bars(brightest: NDArray[np.uint8]) -> float:
    """Of the brightest colour of each pixel [T, H, W]: bars are black and plain in every frame, and equally wide at
    both sides."""
    clear = 1.0
    for axis in (2, 1):
        dark, plain = brightest.max(axis=axis) <= _BAR, brightest.std(axis=axis) <= _PLAIN
        bar = (dark & plain).all(axis=0)
        if bar.all():
            return 0.0  # a black clip is another defect
        sides = (int(np.argmin(bar)), int(np.argmin(bar[::-1])))
        clear *= 1 - 2 * min(sides) / len(bar)
    return 1 - clear


def blockiness(luma: Luma) -> float:
    """Contrast of the mean step across the edges of 8x8 blocks and that within them, (a - b) / (a + b), at least 0.

    The grid may begin anywhere (a clip may have been cropped): the offset with the steepest edges counts, less what the
    second steepest has, so that stripes are no blocks.
    """
    top, left = (max(0, (side - _WINDOW) // 2) for side in luma.shape)
    window = luma[top : top + _WINDOW, left : left + _WINDOW].astype(np.float32)
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(window, axis=axis)).mean(axis=1 - axis)
        if len(steps) < 3 * _BLOCK:
            return 0.0
        means = np.array([steps[offset::_BLOCK].mean() for offset in range(_BLOCK)])
        second, first = np.sort(means)[-2:]
        found.append((first - second) / (first + second + 1e-3))
    return float(min(found))


SIGNALS = tuple(asdict(Signals(0, 0, 0, 0, 0, 0)))
