"""Stage ``vqa_filter``: drop clips of low quality. Decides by what was measured, and decodes nothing."""

from __future__ import annotations

import itertools
from typing import Any

import polars as pl

from hummingbird.data.bounds import DOVER_BOUNDS, NOT_BEST, REASONS, SIGNAL_BOUNDS, first_crossed
from hummingbird.data.clips import apply_filter, read_table, reason_counts, write_table
from hummingbird.data.filter_sheets import write_filter_sheets
from hummingbird.data.measuring.table import QUALITY, SIGNALS, read_scores
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Params, VqaFilter
from hummingbird.runlog import RunLog, count_verdicts

_UNSCORED = "unscored"


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the clip table with the cheap signals and DOVER's scores (all 0..1; empty for clips that were dropped
    before they were measured), and contact sheets.

    Raises:
        UserError: the clip table or the scores are missing, a clip passes the signals that was spared DOVER, or no clip
            passes.
    """
    settings = params.vqa_filter
    before = read_table(layout.clip_table("download"))
    scores = read_scores(layout.measure / "scores.parquet", before)
    reasons = judge(scores, settings, before["kept"])
    count_verdicts(log, list(itertools.compress(reasons, before["kept"])), "quality")
    columns = {name: scores[name].to_list() for name in (*SIGNALS, *QUALITY)}
    after = apply_filter(before, columns, [not reason for reason in reasons], reasons)
    clips = int(before["kept"].sum())
    if not after["kept"].any():
        raise UserError(
            f"the quality filter keeps none of {clips} clips", "lower vqa_filter.min_overall in params.yaml"
        )
    write_table(after, layout.clip_table("vqa_filter"))
    write_filter_sheets(layout.sheets("vqa_filter"), layout.measure / "strips", before, after, _label, log)
    kept = after.filter(pl.col("kept"))
    counts = reason_counts(after.filter(before["kept"]))
    return {
        "clips": float(clips),
        "kept": float(len(kept)),
        **{f"dropped_{reason}": float(counts.get(reason, 0)) for reason in REASONS["vqa_filter"]},
        **{f"kept_mean_{name}": float(kept[name].cast(pl.Float64).to_numpy().mean()) for name in QUALITY},
    }


def judge(scores: pl.DataFrame, settings: VqaFilter, waiting: pl.Series) -> list[str]:
    """The reason to drop each row of a table of scores, or "". Only rows that are ``waiting`` are judged.

    Raises:
        UserError: a clip passes the signals that was spared DOVER.
    """
    rows = zip(scores.iter_rows(named=True), waiting, strict=True)
    reasons = [_reason(row, settings) if is_waiting else "" for row, is_waiting in rows]
    if unscored := reasons.count(_UNSCORED):
        raise UserError(
            f"{unscored} clips pass the bounds of vqa_filter but not those of measure.spare, and have no scores",
            "loosen measure.spare in params.yaml as well, then: dvc repro vqa_filter",
        )
    if settings.keep_best is not None:
        passed = [number for number, reason in enumerate(reasons) if not reason and waiting[number]]
        best = sorted(passed, key=lambda number: (-scores["overall"][number], scores["clip_id"][number]))
        for number in best[max(1, round(settings.keep_best * len(passed))) :]:
            reasons[number] = NOT_BEST
    return reasons


def _reason(row: dict[str, Any], settings: VqaFilter) -> str:
    if row["problem"]:
        return str(row["problem"])
    if reason := first_crossed(SIGNAL_BOUNDS, row, settings):
        return reason
    if row["overall"] is None:
        return _UNSCORED
    return first_crossed(DOVER_BOUNDS, row, settings)


def _label(row: dict[str, Any]) -> str:
    if row["highlights"] is None:
        return "not measured"
    if row["overall"] is None:
        shown = f"luma {row['shadows']:.2f} to {row['highlights']:.2f}, black {row['black']:.2f}"
        return f"{shown}, bars {row['bars']:.2f}, frozen {row['frozen']:.2f}, blocks {row['blockiness']:.2f}"
    return f"overall {row['overall']:.2f}, technical {row['technical']:.2f}, aesthetic {row['aesthetic']:.2f}"
