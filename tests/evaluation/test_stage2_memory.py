"""What the memory benchmark counts, on fewer and smaller clips."""

from __future__ import annotations

import pytest

from evaluation import stage2_memory
from evaluation.stage2_memory import Size, measure


def test_frames_decoded_one_at_a_time_keep_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stage2_memory.SIZES, "miniature", Size(batch=2, frames=8, pixels=32, image_frames=1))
    whole, chunked = measure("miniature", None), measure("miniature", 1)
    assert chunked["kept_bytes"] < 0.95 * whole["kept_bytes"]
    assert all(figures["peak_bytes"] > 0 and figures["seconds"] > 0 for figures in (whole, chunked))
