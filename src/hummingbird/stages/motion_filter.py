"""Stage ``motion_filter``: drop clips in which nothing moves, shaky ones and dolly zooms. Decides by what was measured,
and decodes nothing."""

from __future__ import annotations

from typing import Any

import polars as pl

from hummingbird.data.bounds import REASONS
from hummingbird.data.clips import apply_filter, read_table, write_table
from hummingbird.data.filter_sheets import write_filter_sheets
from hummingbird.data.measuring.table import MOTION, read_scores
from hummingbird.data.motion import MotionScores, camera_kind, motion_reason
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import MotionFilter, Params
from hummingbird.runlog import RunLog, count_verdicts


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the clip table with the columns of :class:`~hummingbird.data.motion.MotionScores` and ``camera``, what the
    camera does (empty for clips that were dropped before), and contact sheets.

    Raises:
        UserError: the clip table or the scores are missing, or no clip passes.
    """
    before = read_table(layout.clip_table("vqa_filter"))
    measured = read_scores(layout.measure / "scores.parquet", before)
    scores = _scores(measured, before["kept"])
    after = _verdicts(before, scores, params.motion_filter)
    count_verdicts(log, after.filter(before["kept"])["reason"].to_list(), "motion")
    clips = int(before["kept"].sum())
    if not after["kept"].any():
        raise UserError(
            f"the motion filter keeps none of {clips} clips", "raise motion_filter.max_static in params.yaml"
        )
    write_table(after, layout.clip_table("motion_filter"))
    write_filter_sheets(layout.sheets("motion_filter"), layout.measure / "strips", before, after, _label, log)
    dropped = after.filter(before["kept"] & ~after["kept"])["reason"].to_list()
    kept = after.filter(pl.col("kept"))
    return {
        "clips": float(clips),
        "kept": float(len(kept)),
        **{f"dropped_{reason}": float(dropped.count(reason)) for reason in REASONS["motion_filter"]},
        **{f"kept_mean_{name}": float(kept[name].to_numpy().mean()) for name in ("camera_pan", "subject_motion")},
    }


def _scores(measured: pl.DataFrame, waiting: pl.Series) -> list[MotionScores | None]:
    """The scores of each row that is ``waiting`` for a verdict; None for those that were dropped before."""
    rows = zip(measured.select(MOTION).iter_rows(named=True), waiting, strict=True)
    return [MotionScores(**row) if is_waiting else None for row, is_waiting in rows]


def _verdicts(table: pl.DataFrame, scores: list[MotionScores | None], settings: MotionFilter) -> pl.DataFrame:
    reasons = [motion_reason(row, settings) if row else "" for row in scores]
    columns = {name: [getattr(row, name) if row else None for row in scores] for name in MOTION}
    after = apply_filter(table, columns, [not reason for reason in reasons], reasons)
    kinds = [camera_kind(row) if row else None for row in scores]
    return after.with_columns(pl.Series("camera", kinds, dtype=pl.String))


def _label(row: dict[str, Any]) -> str:
    bounded = f"static {row['static']:.2f}, dolly zoom {row['dolly_zoom']:.2f}, jitter {row['jitter']:.2f}"
    camera = f"{row['camera']}: zoom {row['camera_zoom']:+.2f}, pan {row['camera_pan']:.2f}"
    return f"{bounded}, {camera}, forward {row['forward']:+.2f}; subject {row['subject_motion']:.3f}"
