"""Pictures of what a filter kept and dropped, so that a reader can disagree with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image

from hummingbird.data.shards import iter_videos
from hummingbird.data.sheets import contact_sheet
from hummingbird.data.video_io import Video
from hummingbird.files import replacing
from hummingbird.runlog import RunLog

_CLIPS = 24
_HEIGHT = 96  # pixels; a strip of the sheet shows no more
_MAX_FRAMES = 64

Row = dict[str, Any]


def write_filter_sheets(
    folder: Path, shards: Path, before: pl.DataFrame, after: pl.DataFrame, label: Callable[[Row], str], log: RunLog
) -> None:
    """Write ``kept.png`` and ``dropped.png`` to ``folder``; a sheet without clips is left out.

    Args:
        shards: folder of the tar shards.
        before, after: the clip table before and after the filter, in the same order.
        label: the scores of a row of ``after``, in a few words.
    """
    sheets = {"kept": after.filter(pl.col("kept")), "dropped": after.filter(before["kept"] & ~after["kept"])}
    for name, rows in sheets.items():
        chosen = _spread(rows)
        if chosen.is_empty():
            continue
        shown = _videos(shards, chosen)
        labels = [label(row) for row, _ in shown]
        picture = contact_sheet([video for _, video in shown], labels, kept=[name == "kept"] * len(shown))
        with replacing(folder / f"{name}.png") as part:
            Image.fromarray(picture).save(part, format="png")
        log.image(f"{name} by {folder.name}", picture)


def _spread(rows: pl.DataFrame) -> pl.DataFrame:
    """A few clips for each reason, in the table's order."""
    per_reason = max(1, _CLIPS // max(1, rows["reason"].n_unique()))
    return rows.filter(pl.int_range(pl.len()).over("reason") < per_reason)


def _videos(shards: Path, rows: pl.DataFrame) -> list[tuple[Row, Video]]:
    shown: list[tuple[Row, Video]] = []
    for row in rows.iter_rows(named=True):
        scale = min(1.0, _HEIGHT / row["height"])
        cover = (max(1, round(row["height"] * scale)), max(1, round(row["width"] * scale)))
        one = rows.filter(pl.col("clip_id") == row["clip_id"])
        shown += list(iter_videos(shards, one, kept_only=False, max_frames=_MAX_FRAMES, cover=cover))
    return shown
