"""Results in VBench's own format, ``{dimension: [mean, [{"video_path": ..., "video_results": ...}, ...]]}``, with a
header that says what was scored and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.statistics import bootstrap_mean
from evaluation.vbench.judges import Judges, Videos
from evaluation.vbench.miniature import SCORERS, score_dimension
from evaluation.vbench.prompts import Prompt, suite_hash
from evaluation.vbench.protocol import DIMENSIONS, aggregate
from evaluation.vbench.sampling import Job
from hummingbird.runlog import RunLog


def score_model(
    name: str, videos: Videos, jobs: Sequence[Job], suite: Sequence[Prompt], judges: Judges, log: RunLog
) -> dict[str, Any]:
    """Score the clips of one model (one per job) in all 16 dimensions: VBench's result with our header."""
    prompts = [suite[job.prompt] for job in jobs]
    result: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for dimension in log.progress(list(DIMENSIONS), f"scoring {name}", len(DIMENSIONS)):
        scores = score_dimension(dimension, videos, prompts, judges)
        rows = [
            {"video_path": f"{name}/{prompts[index].text}-{jobs[index].seed}.mp4", "video_results": score}
            for index, score in scores.items()
        ]
        estimate = bootstrap_mean(list(scores.values()))
        intervals[dimension] = estimate.to_json()
        result[dimension] = [estimate.value, rows]
    header = {
        "mode": "miniature",
        "model": name,
        "n": len(jobs),
        "seeds": sorted({job.seed for job in jobs}),
        "prompts_sha256": suite_hash(prompts),
        "metric_versions": {dimension: scorer.version for dimension, scorer in SCORERS.items()},
        "confidence_intervals": intervals,
    }
    return {"header": header, **result}


def summarise(result: Mapping[str, Any]) -> dict[str, Any]:
    """Aggregates and dimension means of a result: ``quality``, ``semantic``, ``total``, ``dimensions``, ``n``.

    Raises:
        UserError: a dimension is missing, or a score lies outside 0..1.
    """
    dimensions = {name: float(result[name][0]) for name in DIMENSIONS if name in result}
    return {**aggregate(dimensions), "dimensions": dimensions, "n": result["header"]["n"], "mode": "miniature"}
