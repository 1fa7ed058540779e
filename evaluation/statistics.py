"""Uncertainty of means, ratios and paired differences, by the percentile bootstrap."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its confidence interval and the number of values behind it."""

    value: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0.0 or self.high < 0.0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "confidence": CONFIDENCE, "excludes_zero": self.excludes_zero}


def _values(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"expected a non-empty list of numbers, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("some values are not finite")
    return array


def _resample(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(0, count, size=(RESAMPLES, count))


def _interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_mean(values: ArrayLike, seed: int = 0) -> Estimate:
    """Mean of ``values`` [N] with its interval.

    Raises:
        ValueError: no values, or some are not finite.
    """
    array = _values(values)
    low, high = _interval(array[_resample(len(array), np.random.default_rng(seed))].mean(axis=1))
    return Estimate(float(array.mean()), low, high, len(array))


def paired_delta(new: ArrayLike, old: ArrayLike, seed: int = 0) -> Estimate:
    """Mean of ``new - old`` [N], resampled over the pairs (same prompt, same noise).

    Raises:
        ValueError: the two differ in length, are empty or not finite.
    """
    first, second = _values(new), _values(old)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    return bootstrap_mean(first - second, seed)


def median_ratio(numerator: ArrayLike, denominator: ArrayLike, seed: int = 0) -> Estimate:
    """Ratio of medians of two independent samples of positive numbers; ``n`` is the smaller of their sizes.

    Raises:
        ValueError: one of them is empty or holds a number that is not finite.
    """
    above, below = _values(numerator), _values(denominator)
    rng = np.random.default_rng(seed)
    draws = np.median(above[_resample(len(above), rng)], axis=1) / np.median(below[_resample(len(below), rng)], axis=1)
    low, high = _interval(draws)
    return Estimate(float(np.median(above) / np.median(below)), low, high, min(len(above), len(below)))
