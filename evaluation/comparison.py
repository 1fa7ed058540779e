"""From one value per clip to what a report says: means with intervals, pooled and per seed, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.statistics import bootstrap_mean, paired_delta


@dataclass(frozen=True)
class Judged:
    """Figures of one model: per name one value per clip [N], and the sampling seed of each clip [N].

    Clip ``i`` of two models is comparable when both have it: the same prompt and the same noise.
    """

    figures: Mapping[str, NDArray[np.float64]]
    seeds: Sequence[int]

    def rows_of(self, seed: int) -> NDArray[np.int64]:
        return np.flatnonzero(np.array(self.seeds) == seed)

    def first(self, count: int) -> Judged:
        """The first ``count`` clips."""
        return Judged({name: values[:count] for name, values in self.figures.items()}, self.seeds[:count])


def describe(judged: Judged) -> dict[str, Any]:
    """Every figure's mean under its name; ``n``, ``ci`` (``{name: [low, high]}``) and ``seeds`` (means per seed)."""
    estimates = {name: bootstrap_mean(values) for name, values in judged.figures.items()}
    by_seed = {
        str(seed): {
            "n": len(rows := judged.rows_of(seed)),
            **{name: float(values[rows].mean()) for name, values in judged.figures.items()},
        }
        for seed in sorted(set(judged.seeds))
    }
    return {
        **{name: estimate.value for name, estimate in estimates.items()},
        "n": len(judged.seeds),
        "ci": {name: [estimate.low, estimate.high] for name, estimate in estimates.items()},
        "seeds": by_seed,
    }


def compare(new: Judged, old: Judged) -> dict[str, Any]:
    """Paired difference ``new - old`` of every figure: ``{name: {value, low, high, n, ..., seeds: {seed: {...}}}}``.

    Only clips that both have are used (the first of the longer one).

    Raises:
        ValueError: the clips of the two have different seeds, so they are not pairs.
    """
    count = min(len(new.seeds), len(old.seeds))
    new, old = new.first(count), old.first(count)
    if list(new.seeds) != list(old.seeds):
        raise ValueError("these clips were made with different seeds: they are not pairs")
    deltas: dict[str, Any] = {}
    for name, values in new.figures.items():
        others = old.figures[name]
        deltas[name] = {
            **paired_delta(values, others).to_json(),
            "seeds": {
                str(seed): paired_delta(values[rows := new.rows_of(seed)], others[rows]).to_json()
                for seed in sorted(set(new.seeds))
            },
        }
    return deltas
