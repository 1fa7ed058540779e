"""Cheap signals: each measured right on a clip made for it, and no good clip of the world condemned."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from hummingbird.data import world
from hummingbird.data.measuring.signals import Signals, blockiness, condemn, luma_of, measure_signals
from hummingbird.params import SignalBounds

BOUNDS = SignalBounds()


def _textured(frames: int = 8, height: int = 72, width: int = 96) -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (frames, height, width, 3)).astype(np.uint8)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 2) for frame in noise]) // 2 + 60


def _signals(video: np.ndarray) -> Signals:
    return measure_signals(list(video), list(pairwise(video)), [luma_of(frame) for frame in video])


def _letterboxed() -> np.ndarray:
    video = _textured()
    video[:, :9] = video[:, -9:] = 1
    return video


def _half_black() -> np.ndarray:
    video = _textured()
    video[:5] = 10
    return video


@pytest.mark.parametrize(
    ("video", "reason"),
    [
        (_textured(), ""),
        (_half_black(), "black"),
        (np.full((4, 32, 32, 3), 40, np.uint8), "too_dark"),
        (np.full((4, 32, 32, 3), 250, np.uint8), "overexposed"),
        (_textured()[[0] * 8], "frozen"),
        (_letterboxed(), "letterbox"),
    ],
    ids=["fine", "black", "dark", "bright", "frozen", "letterbox"],
)
def test_each_defect_is_named(video: np.ndarray, reason: str) -> None:
    assert condemn(_signals(video), BOUNDS) == reason


def test_exposure_is_luma_without_the_outliers() -> None:
    video = np.zeros((2, 20, 20, 3), np.uint8)
    video[:, :10] = (0, 255, 0)
    video[0, 0, 0] = 255  # a lamp
    measured = _signals(video)
    assert measured.shadows == pytest.approx(0.0)
    assert measured.highlights == pytest.approx(0.7152, abs=2 / 255)


def test_bars_are_measured_as_a_share_and_need_both_sides() -> None:
    assert _signals(_letterboxed()).bars == pytest.approx(18 / 72)
    one_sided = _textured()
    one_sided[:, :9] = 1
    assert _signals(one_sided).bars == 0.0
    blue_night = _textured()
    blue_night[:, :9] = blue_night[:, -9:] = (10, 10, 45)
    assert _signals(blue_night).bars == 0.0


def test_a_clip_that_stops_half_way_is_half_frozen() -> None:
    video = _textured(9)
    video[5:] = video[4]
    assert _signals(video).frozen == pytest.approx(4 / 8)


@pytest.mark.parametrize("offset", [0, 3])
def test_blocks_are_found_wherever_their_grid_begins(offset: int) -> None:
    picture = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (128, 128)).astype(np.uint8), (0, 0), 4)
    coarse = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 4])[1], cv2.IMREAD_GRAYSCALE)
    assert blockiness(np.asarray(coarse)[offset:, offset:]) > 0.3
    assert blockiness(picture) < 0.1


def test_stripes_are_no_blocks() -> None:
    stripes = np.tile(np.repeat([60, 200], 4).astype(np.uint8), (96, 12))
    assert blockiness(stripes) < 0.1 and blockiness(stripes.T) < 0.1


def test_against_the_world() -> None:
    """Nothing good is condemned, and what is condemned is spoilt in the way that the reason says."""
    named = {"dark": ("too_dark", "black", "letterbox"), "washed_out": ("overexposed",), "compression": ("blocky",)}
    named["static"] = ("frozen",)
    clips = [world.make_clip(901, index, spoilt_share=0.5) for index in range(300)]
    for clip in clips:
        reason = condemn(_signals(clip.video), BOUNDS)
        assert reason in ("", *named.get(clip.scene.spoilage or "", ()))
    for kind in ("dark", "washed_out"):
        missed = [condemn(_signals(clip.video), BOUNDS) == "" for clip in clips if clip.scene.spoilage == kind]
        assert len(missed) > 10 and np.mean(missed) < 0.15
