"""The clip table: one row per clip, from the crawl to the last filter.

A filter adds its scores as columns and may only turn ``kept`` off, with a reason. It never drops a row, never brings a
dropped clip back and never changes another filter's reason, so the last table tells the whole story of every clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import ComputeError

from hummingbird.errors import UserError
from hummingbird.files import replacing

#: Columns that every clip table begins with. Stages after ``download`` append their own.
SCHEMA: dict[str, pl.DataType] = {
    "clip_id": pl.String(),  # unique
    "shard": pl.String(),  # file name below the shard folder; "" if the video never got that far
    "key": pl.String(),  # name of the sample within its shard
    "caption": pl.String(),
    "duration_s": pl.Float64(),
    "fps": pl.Float64(),
    "width": pl.Int32(),  # pixels as shown, after rotation
    "height": pl.Int32(),
    "num_frames": pl.Int32(),  # that really decode
    "sha256": pl.String(),  # of the video file
    "source": pl.String(),  # `world`, or the name of the folder, CSV, bucket or dataset
    "source_id": pl.String(),  # what the source calls it: repeated and unsafe names are others in `clip_id`
    "start_s": pl.Float64(),  # where in the video it was cut from the clip begins
    "transcoded": pl.String(),  # what was mended, comma-separated; "" if its bytes are as they were found
    "phash": pl.String(),  # 64-bit perceptual hash, 16 hexadecimal digits; null for a clip of the world
    "duplicate_of": pl.String(),  # clip_id of the earlier clip that it repeats, or ""
    "kept": pl.Boolean(),
    "reason": pl.String(),  # why it is not kept: `code` or `code: detail`; "" while it is
}


def clip_table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A new clip table from dictionaries that have every column of :data:`SCHEMA`."""
    return pl.DataFrame([dict(row) for row in rows], schema=SCHEMA, orient="row")


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table as Parquet, whole or not at all.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    with replacing(path) as part:
        table.write_parquet(part)


def read_table(path: Path) -> pl.DataFrame:
    """Read a clip table.

    Raises:
        UserError: there is none, it cannot be read, or a column of :data:`SCHEMA` is missing.
    """
    if not path.is_file():
        raise UserError(f"no clip table {path}", "run the stage that makes it: dvc repro")
    try:
        table = pl.read_parquet(path)
    except (ComputeError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}", "delete it and run again: dvc repro") from error
    missing = [name for name in SCHEMA if name not in table.columns]
    if missing:
        raise UserError(f"clip table {path} lacks columns: {', '.join(missing)}", "delete it and run again: dvc repro")
    return table


def apply_filter(
    table: pl.DataFrame, scores: Mapping[str, Sequence[float | None]], kept: Sequence[bool], reason: Sequence[str] | str
) -> pl.DataFrame:
    """The table after one filter.

    Args:
        table: a clip table of N rows.
        scores: new columns of N values each; ``None`` where a clip was not scored.
        kept: N verdicts of this filter. A clip that was dropped before stays dropped whatever they say.
        reason: why a clip is dropped by this filter: one text, or one for each row.

    Raises:
        ValueError: a column has another length than the table or exists already, or a dropped clip has no reason.
    """
    reasons = [reason] * len(table) if isinstance(reason, str) else list(reason)
    for name, values in {**scores, "kept": kept, "reason": reasons}.items():
        if len(values) != len(table):
            raise ValueError(f"column {name!r} has {len(values)} values for {len(table)} clips")
    if taken := [name for name in scores if name in table.columns]:
        raise ValueError(f"the clip table has columns {taken} already")
    before = table["kept"]
    drops = before & ~pl.Series(kept, dtype=pl.Boolean)
    if any(drop and not text for drop, text in zip(drops, reasons, strict=True)):
        raise ValueError("a dropped clip needs a reason")
    new = [pl.Series(name, values, dtype=pl.Float64, strict=False) for name, values in scores.items()]
    why = [text if drop else old for drop, text, old in zip(drops, reasons, table["reason"], strict=True)]
    return table.with_columns(*new, (before & ~drops).alias("kept"), pl.Series("reason", why, dtype=pl.String))


def reason_counts(table: pl.DataFrame) -> dict[str, int]:
    """How many clips were dropped for each reason (the code before the colon), most frequent first."""
    dropped = table.filter(~pl.col("kept")).with_columns(pl.col("reason").str.split(":").list.first())
    counts = dropped["reason"].value_counts(sort=True)
    return dict(zip(counts["reason"].to_list(), counts["count"].to_list(), strict=True))
