"""Pictures of what a stage kept and of what it dropped for each reason, so that a reader can disagree with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hummingbird.data.sheets import contact_sheet, save_sheet
from hummingbird.data.video_io import Video
from hummingbird.files import replacing_folder
from hummingbird.runlog import RunLog

KEPT = "kept"  # sheet of what a filter kept
CRAWLED = "raw"  # ... and of the whole crawl
_CLIPS = 24

Row = dict[str, Any]
Videos = Callable[[pl.DataFrame], Mapping[str, Video]]


def sheet_name(reason: str) -> str:
    """The name of the sheet of a reason (``code`` or ``code: detail``), whatever a source of clips calls it."""
    code = re.sub("[^a-z0-9]+", "_", reason.partition(":")[0].lower()).strip("_")
    return f"dropped_{code[:60] or 'other'}"


def dropped_heaps(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Dropped clips by the name of their sheet, the most frequent first."""
    names = pl.Series("sheet", [sheet_name(reason) for reason in rows["reason"]], dtype=pl.String)
    heaps = rows.with_columns(names).partition_by("sheet", as_dict=True, maintain_order=True)
    found = {str(name): heap for (name,), heap in heaps.items()}
    return dict(sorted(found.items(), key=lambda heap: -len(heap[1])))


def write_sheets(
    folder: Path, heaps: Mapping[str, pl.DataFrame], videos: Videos, label: Callable[[Row], str], log: RunLog
) -> None:
    """Write a sheet of each heap of clips, and nothing else, to ``folder``, and log it.

    Args:
        heaps: rows of the clip table by the name of their sheet; empty ones are left out.
        videos: the videos of some rows by clip id. A clip without one is there too, as a tile with its id and reason.
        label: what is said of a row besides these.
    """
    with replacing_folder(folder) as part:
        for name, rows in heaps.items():
            if rows.is_empty():
                continue
            chosen = _spread(rows)
            found = videos(chosen)
            shown = list(chosen.iter_rows(named=True))
            clips = [found.get(row["clip_id"]) for row in shown]
            picture = contact_sheet(clips, [_text(row, label(row)) for row in shown], kept=chosen["kept"].to_list())
            save_sheet(picture, part / f"{name}.png")
            log.image(f"{name} by {folder.name}", picture)


def _spread(rows: pl.DataFrame) -> pl.DataFrame:
    """Some rows, evenly from first to last."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), _CLIPS)).round().astype(int)]


def _text(row: Row, label: str) -> str:
    """Id and reason, and the label below."""
    head = f"{row['clip_id']}: {row['reason']}" if row["reason"] else row["clip_id"]
    return "\n".join(" ".join(line.split()) for line in (head, label))
