"""Contact sheets of a crawl and of what could not be used, drawn from the shards."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hummingbird.data import video_io
from hummingbird.data.reason_sheets import CRAWLED, dropped_heaps, write_sheets
from hummingbird.data.shards import iter_clips
from hummingbird.data.video_io import Video
from hummingbird.runlog import RunLog

_HEIGHT = 96  # pixels, of a frame that is decoded for a sheet
_FRAMES = 64


def write_crawl_sheets(folder: Path, shards: Path, table: pl.DataFrame, log: RunLog) -> None:
    """Write ``raw.png``, clips from the whole crawl, and ``dropped_REASON.png`` for each reason, with their captions.

    ``shards``: the folder they are in.
    """
    heaps = {CRAWLED: table, **dropped_heaps(table.filter(~pl.col("kept")))}
    write_sheets(folder, heaps, lambda rows: _previews(shards, rows), lambda row: row["caption"] or "", log)


def _previews(shards: Path, rows: pl.DataFrame) -> dict[str, Video]:
    """The first seconds of clips, decoded no larger than they are shown."""
    found = {}
    for row, data in iter_clips(shards, rows, kept_only=False):
        small = None if row["height"] <= _HEIGHT else (_HEIGHT, max(1, round(row["width"] * _HEIGHT / row["height"])))
        try:
            found[row["clip_id"]] = video_io.decode(data, _FRAMES, cover=small)[0]
        except video_io.VideoError:  # it was dropped, perhaps for that
            continue
    return found
