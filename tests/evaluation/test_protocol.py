"""The aggregation reproduces the published leaderboard, and refuses what has no total."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from evaluation.vbench.protocol import DIMENSIONS, I2V_DIMENSIONS, aggregate, aggregate_i2v
from hummingbird.errors import UserError

LEADERBOARD = Path(__file__).parent / "golden" / "leaderboard.csv"
with LEADERBOARD.open() as _file:
    ROWS = list(csv.DictReader(_file))


@pytest.mark.parametrize("row", ROWS, ids=[row["model"] for row in ROWS])
def test_published_aggregates_are_reproduced(row: dict[str, str]) -> None:
    result = aggregate({name: float(row[name]) / 100 for name in DIMENSIONS})
    for name in ("quality", "semantic", "total"):
        # The published dimensions are rounded to 0.01 themselves.
        assert result[name] * 100 == pytest.approx(float(row[name]), abs=0.01), name


def test_all_twelve_models_are_checked() -> None:
    assert len(ROWS) == 12


def test_a_missing_dimension_is_named() -> None:
    scores = dict.fromkeys(DIMENSIONS, 0.5)
    del scores["scene"]
    with pytest.raises(UserError, match="1 of 16 VBench dimensions are missing: scene"):
        aggregate(scores)


@pytest.mark.parametrize("value", [323.99, -0.01, float("nan")])
def test_a_score_off_the_scale_is_named(value: float) -> None:
    with pytest.raises(UserError, match=r"outside 0\.\.1: subject_consistency"):
        aggregate({**dict.fromkeys(DIMENSIONS, 0.5), "subject_consistency": value})


def test_a_misspelt_dimension_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'color'"):
        aggregate({**dict.fromkeys(DIMENSIONS, 0.5), "colour": 0.5})


def test_perfect_scores_give_one_and_lowest_give_zero() -> None:
    assert aggregate({name: d.high for name, d in DIMENSIONS.items()})["total"] == pytest.approx(1.0)
    assert aggregate({name: d.low for name, d in DIMENSIONS.items()})["total"] == pytest.approx(0.0)


def test_i2v_weights() -> None:
    scores = {name: dimension.low for name, dimension in I2V_DIMENSIONS.items()}
    assert aggregate_i2v({**scores, "camera_motion": 1.0})["i2v"] == pytest.approx(0.1 / 2.1)
    assert aggregate_i2v({**scores, "dynamic_degree": 1.0})["quality"] == pytest.approx(0.5 / 5.5)
    best = aggregate_i2v({name: dimension.high for name, dimension in I2V_DIMENSIONS.items()})
    assert best == pytest.approx({"i2v": 1.0, "quality": 1.0, "total": 1.0})
