"""Exposure: measured right, and only what is badly exposed is called so."""

from __future__ import annotations

import numpy as np
import pytest

from hummingbird.data import world
from hummingbird.data.vqa import exposure, exposure_reason
from hummingbird.params import VqaFilter

BOUNDS = {"min_highlights": VqaFilter().min_highlights, "max_shadows": VqaFilter().max_shadows}


def test_exposure_is_luma_without_the_outliers() -> None:
    video = np.zeros((2, 20, 20, 3), np.uint8)
    video[:, :10] = (0, 255, 0)
    video[0, 0, 0] = 255  # a lamp
    measured = exposure(video)
    assert measured.shadows == pytest.approx(0.0)
    assert measured.highlights == pytest.approx(0.7152, abs=1e-4)


@pytest.mark.parametrize(("level", "reason"), [(0, "too_dark"), (40, "too_dark"), (120, ""), (250, "overexposed")])
def test_plain_clips(level: int, reason: str) -> None:
    assert exposure_reason(exposure(np.full((2, 8, 8, 3), level, np.uint8)), **BOUNDS) == reason


def test_against_the_world() -> None:
    clips = [world.make_clip(901, index, spoilt_share=0.5) for index in range(300)]
    named = {"dark": "too_dark", "washed_out": "overexposed"}
    for clip in clips:
        reason = exposure_reason(exposure(clip.video), **BOUNDS)
        assert reason in ("", named.get(clip.scene.spoilage or "", ""))
    missed = [exposure_reason(exposure(clip.video), **BOUNDS) == "" for clip in clips if clip.scene.spoilage in named]
    assert len(missed) > 30 and np.mean(missed) < 0.15
