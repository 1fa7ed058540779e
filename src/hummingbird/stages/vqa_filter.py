"""Stage ``vqa_filter``: score the quality of every clip, and drop those below the bar.

Exposure is measured first, because it costs next to nothing; DOVER scores what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.data.clips import apply_filter, read_table, write_table
from hummingbird.data.filter_sheets import write_filter_sheets
from hummingbird.data.shards import iter_clips
from hummingbird.data.video_io import Video, decode
from hummingbird.data.vqa import Exposure, exposure, exposure_reason
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.models.dover import Dover
from hummingbird.params import Params, VqaFilter
from hummingbird.runlog import RunLog

REASONS = ("too_dark", "overexposed", "low_quality")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter found out about a clip; the scores are empty where exposure already decided."""

    exposure: Exposure
    aesthetic: float | None = None
    technical: float | None = None
    overall: float | None = None
    reason: str = ""


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the clip table with columns ``highlights``, ``shadows``, ``aesthetic``, ``technical`` and ``overall``
    (all 0..1; empty for clips dropped before they were measured), and contact sheets of both heaps.

    Raises:
        UserError: the clip table, a shard or the model is missing, or no clip passes.
    """
    settings = params.vqa_filter
    before = read_table(layout.clip_table("download"))
    shards = layout.raw / "shards"
    model = load_dover(layout.foundation / "dover")
    waiting = before.filter(pl.col("kept"))
    found: dict[str, Verdict] = {}
    parts = list(waiting.iter_slices(settings.batch_size))
    for part in log.progress(parts, "scoring quality", total=len(parts)):
        clips = [(row["clip_id"], _load(data, settings)) for row, data in iter_clips(shards, part)]
        found |= judge(model, dict(clips), settings, seed=params.seed)
    after = _verdicts(before, found)
    if not after["kept"].any():
        raise UserError(
            f"the quality filter keeps none of {len(waiting)} clips", "lower vqa_filter.min_overall in params.yaml"
        )
    write_table(after, layout.clip_table("vqa_filter"))
    write_filter_sheets(layout.sheets("vqa_filter"), shards, before, after, _label, log)
    return _figures(waiting, after, found)


def load_dover(folder: Path) -> Dover:
    """The model in ``folder``, on the GPU where there is one.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    import torch

    next_step = "run the stage that supplies it: dvc repro foundation"
    if not (folder / "config.json").is_file():
        raise UserError(f"no DOVER model in {folder}", next_step)
    try:
        model = Dover.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"the DOVER model in {folder} cannot be read: {error}", next_step) from error
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def judge(model: Dover, clips: dict[str, Video], settings: VqaFilter, *, seed: int) -> dict[str, Verdict]:
    """Judge clips of one size, uint8 [T, H, W, 3], by name."""
    verdicts = {}
    for name, video in clips.items():
        measured = exposure(video)
        reason = exposure_reason(measured, min_highlights=settings.min_highlights, max_shadows=settings.max_shadows)
        verdicts[name] = Verdict(measured, reason=reason)
    left = [name for name, verdict in verdicts.items() if not verdict.reason]
    if not left:
        return verdicts
    scores = model.score([clips[name] for name in left], seed)
    for name, *values in zip(left, *(part.tolist() for part in scores), strict=True):
        aesthetic, technical, overall = values
        reason = "low_quality" if overall < settings.min_overall else ""
        verdicts[name] = Verdict(verdicts[name].exposure, aesthetic, technical, overall, reason)
    return verdicts


def _load(data: bytes, settings: VqaFilter) -> Video:
    return decode(data, settings.max_frames, cover=(settings.size, settings.size))[0]


def _verdicts(table: pl.DataFrame, found: dict[str, Verdict]) -> pl.DataFrame:
    rows = [found.get(clip_id) for clip_id in table["clip_id"]]
    scores = {
        "highlights": [row.exposure.highlights if row else None for row in rows],
        "shadows": [row.exposure.shadows if row else None for row in rows],
        "aesthetic": [row.aesthetic if row else None for row in rows],
        "technical": [row.technical if row else None for row in rows],
        "overall": [row.overall if row else None for row in rows],
    }
    reasons = [row.reason if row else "" for row in rows]
    return apply_filter(table, scores, [not reason for reason in reasons], reasons)


def _label(row: dict[str, Any]) -> str:
    if row["overall"] is None:
        return f"{row['reason']}  luma {row['shadows']:.2f} to {row['highlights']:.2f}"
    scores = f"overall {row['overall']:.2f}  technical {row['technical']:.2f}  aesthetic {row['aesthetic']:.2f}"
    return f"{row['reason']}  {scores}".strip()


def _figures(before: pl.DataFrame, after: pl.DataFrame, found: dict[str, Verdict]) -> dict[str, float]:
    dropped = [verdict.reason for verdict in found.values() if verdict.reason]
    kept = after.filter(pl.col("kept"))
    return {
        "clips": float(len(before)),
        "kept": float(len(kept)),
        **{f"dropped_{reason}": float(dropped.count(reason)) for reason in REASONS},
        **{
            f"kept_mean_{name}": float(kept[name].cast(pl.Float64).to_numpy().mean())
            for name in ("aesthetic", "technical", "overall")
        },
    }
