"""Stage ``motion_filter``: drop clips in which nothing moves, and dolly zooms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import polars as pl

from hummingbird.data.clips import apply_filter, read_table, write_table
from hummingbird.data.filter_sheets import write_filter_sheets
from hummingbird.data.motion import MotionScores, motion_reason, motion_scores, sample_frames
from hummingbird.data.shards import iter_clips
from hummingbird.data.video_io import decode
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import MotionFilter, Params
from hummingbird.runlog import RunLog
from hummingbird.workers import worker_pool

REASONS = ("static", "dolly_zoom")
COLUMNS = tuple(field.name for field in fields(MotionScores))

_PART = 512  # clips in memory at once, as files


@dataclass(frozen=True, slots=True)
class _Job:
    video: bytes
    fps: float
    height: int
    width: int


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the clip table with the columns of :class:`~hummingbird.data.motion.MotionScores` (empty for clips that
    were dropped before), and contact sheets of both heaps.

    Raises:
        UserError: the clip table or a shard is missing, or no clip passes.
    """
    settings = params.motion_filter
    before = read_table(layout.clip_table("vqa_filter"))
    shards = layout.raw / "shards"
    waiting = before.filter(pl.col("kept"))
    measured = _measure_all(waiting, shards, settings)
    scores = dict(log.progress(measured, "measuring motion", total=len(waiting)))
    after = _verdicts(before, scores, settings)
    if not after["kept"].any():
        raise UserError(
            f"the motion filter keeps none of {len(waiting)} clips", "raise motion_filter.max_static in params.yaml"
        )
    write_table(after, layout.clip_table("motion_filter"))
    write_filter_sheets(layout.sheets("motion_filter"), shards, before, after, _label, log)
    dropped = after.filter(before["kept"] & ~after["kept"])["reason"].to_list()
    kept = after.filter(pl.col("kept"))
    return {
        "clips": float(len(waiting)),
        "kept": float(len(kept)),
        **{f"dropped_{reason}": float(dropped.count(reason)) for reason in REASONS},
        **{f"kept_mean_{name}": float(kept[name].to_numpy().mean()) for name in ("camera_pan", "subject_motion")},
    }


def _measure_all(clips: pl.DataFrame, shards: Path, settings: MotionFilter) -> Iterator[tuple[str, MotionScores]]:
    """Each clip's name and scores, in order, measured by as many processes as there are cores."""
    measure = partial(_measure, settings=settings)
    with worker_pool(len(clips)) as pool:
        for part in clips.iter_slices(_PART):
            names, jobs = [], []
            for row, data in iter_clips(shards, part):
                names.append(row["clip_id"])
                jobs.append(_Job(data, row["fps"], row["height"], row["width"]))
            results = pool.map(measure, jobs, chunksize=8) if pool else map(measure, jobs)
            yield from zip(names, results, strict=True)


def _measure(job: _Job, settings: MotionFilter) -> MotionScores:
    cv2.setNumThreads(1)  # the processes are the parallelism
    scale = min(1.0, settings.side / min(job.height, job.width))
    cover = (round(job.height * scale), round(job.width * scale))
    video, _ = decode(job.video, settings.max_frames, cover=cover if scale < 1 else None)
    frames = sample_frames(video, job.fps, target_fps=settings.sample_fps, most=settings.sample_frames)
    return motion_scores(frames, side=settings.side)


def _verdicts(table: pl.DataFrame, scores: dict[str, MotionScores], settings: MotionFilter) -> pl.DataFrame:
    rows = [scores.get(clip_id) for clip_id in table["clip_id"]]
    bounds = {"max_static": settings.max_static, "max_dolly_zoom": settings.max_dolly_zoom}
    reasons = [motion_reason(row, **bounds) if row else "" for row in rows]
    columns = {name: [asdict(row)[name] if row else None for row in rows] for name in COLUMNS}
    return apply_filter(table, columns, [not reason for reason in reasons], reasons)


def _label(row: dict[str, Any]) -> str:
    camera = f"zoom {row['camera_zoom']:+.2f}  pan {row['camera_pan']:.2f}  subject {row['subject_motion']:.3f}"
    return f"{row['reason']}  {camera}  dolly {row['dolly_zoom']:.2f}".strip()
