"""How sure VBench's total is: the aggregate has no values of its own, so its interval is drawn from the clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.statistics import CONFIDENCE, RESAMPLES, Estimate
from evaluation.vbench.protocol import DIMENSIONS, aggregate


def total_interval(result: Mapping[str, Any], seed: int = 0) -> Estimate:
    """Total of a result in VBench's format with its interval by the percentile bootstrap.

    Clips are drawn, not values: a clip that is drawn twice counts twice in every dimension that scored it, so that what
    the dimensions have in common stays in the spread. ``n`` is the number of clips.

    Raises:
        UserError: a dimension is missing, or a score lies outside 0..1.
    """
    means = {name: float(result[name][0]) for name in DIMENSIONS if name in result}
    total = aggregate(means)["total"]
    clips = sorted({row["video_path"] for name in means for row in result[name][1]})
    place = {clip: index for index, clip in enumerate(clips)}
    drawn = np.random.default_rng(seed).multinomial(len(clips), np.full(len(clips), 1 / len(clips)), size=RESAMPLES)
    draws = {}
    for name, mean in means.items():
        columns = drawn[:, [place[row["video_path"]] for row in result[name][1]]]
        scores = np.array([float(row["video_results"]) for row in result[name][1]])
        counts = columns.sum(axis=1)
        draws[name] = np.where(counts > 0, columns @ scores / np.maximum(counts, 1), mean)
    totals = [aggregate({name: float(values[i]) for name, values in draws.items()})["total"] for i in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(totals, [tail, 1 - tail])
    return Estimate(total, float(low), float(high), len(clips))
