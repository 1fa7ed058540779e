from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evaluation.vbench.interval import total_interval
from evaluation.vbench.protocol import DIMENSIONS, aggregate
from hummingbird.errors import UserError


def result(scores: dict[str, list[float]]) -> dict[str, Any]:
    """VBench's format; score i of every dimension is of clip i."""
    return {
        name: [
            float(np.mean(values)),
            [{"video_path": f"{i}.mp4", "video_results": value} for i, value in enumerate(values)],
        ]
        for name, values in scores.items()
    }


def test_equal_scores_leave_no_doubt() -> None:
    estimate = total_interval(result(dict.fromkeys(DIMENSIONS, [0.5] * 20)))
    assert estimate.value == pytest.approx(aggregate(dict.fromkeys(DIMENSIONS, 0.5))["total"])
    assert estimate.low == pytest.approx(estimate.value) and estimate.high == pytest.approx(estimate.value)
    assert estimate.n == 20


def test_what_dimensions_have_in_common_stays_in_the_spread() -> None:
    """A clip that is bad in every dimension makes the total less sure than bad scores that cancel."""
    good, bad = [0.4, 0.6] * 20, [0.6, 0.4] * 20
    together = total_interval(result(dict.fromkeys(DIMENSIONS, good)))
    apart = total_interval(result({name: good if i % 2 else bad for i, name in enumerate(DIMENSIONS)}))
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert together.low < together.value < together.high


def test_a_partial_result_has_no_total() -> None:
    scores = result(dict.fromkeys(DIMENSIONS, [0.5] * 4))
    scores.popitem()
    with pytest.raises(UserError, match="missing"):
        total_interval(scores)
