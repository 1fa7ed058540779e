"""Pictures of what a filter kept and of what it dropped for each reason, so that a reader can disagree with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.data.measuring.table import read_strips
from hummingbird.data.sheets import contact_sheet, save_sheet
from hummingbird.runlog import RunLog

KEPT = "kept"
_CLIPS = 24

Row = dict[str, Any]


def write_filter_sheets(
    folder: Path, strips: Path, before: pl.DataFrame, after: pl.DataFrame, label: Callable[[Row], str], log: RunLog
) -> None:
    """Write ``kept.png`` and, for each reason, ``dropped_REASON.png`` to ``folder``; a sheet without clips is left out.

    Args:
        strips: folder of the strips.
        before, after: the clip table before and after the filter, in the same order.
        label: the scores of a row of ``after``, in a few words.
    """
    dropped = after.filter(before["kept"] & ~after["kept"]).with_columns(code=pl.col("reason").str.split(":").list[0])
    heaps = {KEPT: after.filter(pl.col("kept"))}
    heaps |= {f"dropped_{code}": rows for (code,), rows in dropped.partition_by("code", as_dict=True).items()}
    for name, rows in heaps.items():
        chosen = rows.gather_every(max(1, len(rows) // _CLIPS)).head(_CLIPS)
        videos = read_strips(strips, chosen)
        shown = [row for row in chosen.iter_rows(named=True) if row["clip_id"] in videos]
        if not shown:
            continue
        clips = [videos[row["clip_id"]] for row in shown]
        picture = contact_sheet(clips, [label(row) for row in shown], kept=[name == KEPT] * len(shown))
        save_sheet(picture, folder / f"{name}.png")
        log.image(f"{name} by {folder.name}", picture)
