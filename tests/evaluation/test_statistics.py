"""Intervals cover what they should, and pairing removes what the two samples share."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.statistics import bootstrap_mean, median_ratio, paired_delta


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    estimates = [bootstrap_mean(rng.normal(3.0, 1.0, 60), seed=trial) for trial in range(200)]
    covered = np.mean([estimate.low <= 3.0 <= estimate.high for estimate in estimates])
    assert 0.89 <= covered <= 0.99


def test_pairing_finds_a_small_gain_that_two_separate_means_hide() -> None:
    rng = np.random.default_rng(1)
    difficulty = rng.normal(0.5, 0.2, 100)
    old, new = difficulty, difficulty + 0.02 + rng.normal(0, 0.02, 100)
    delta = paired_delta(new, old)
    assert delta.excludes_zero
    assert delta.value == pytest.approx(0.02, abs=0.006)
    assert bootstrap_mean(old).high > bootstrap_mean(new).low  # unpaired, the intervals overlap


def test_no_difference_is_not_a_difference() -> None:
    values = np.random.default_rng(2).normal(size=50)
    assert not paired_delta(values, values).excludes_zero


def test_ratio_of_medians_ignores_an_outlier() -> None:
    slow, fast = [34.0, 34.2, 33.8, 34.1, 90.0], [1.0] * 9 + [7.0]
    ratio = median_ratio(slow, fast)
    assert ratio.value == pytest.approx(34.1)
    assert ratio.low <= 34.1 <= ratio.high
    assert ratio.n == 5


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [0.1, 0.5, 0.9, 0.4]
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0], [2.0]]])
def test_unusable_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"non-empty|finite"):
        bootstrap_mean(values)


def test_unequal_lengths_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_delta([1.0, 2.0], [1.0])
