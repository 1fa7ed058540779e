"""The table of scores, one row per measured clip, and the strips beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.exceptions import PolarsError

from hummingbird.data.measuring.signals import Signals
from hummingbird.data.measuring.strips import Video, decode_strip
from hummingbird.data.motion import MotionScores
from hummingbird.errors import UserError

if TYPE_CHECKING:  # the filters read scores, and need not wait for torch
    from hummingbird.data.measuring.clip import Look

SIGNALS = tuple(field.name for field in fields(Signals))
_DIGITS = 6
QUALITY = ("aesthetic", "technical", "overall")  # DOVER's
MOTION = tuple(field.name for field in fields(MotionScores))

#: ``problem`` is `unreadable: why`, or "". Scores are empty where a clip cannot be read, and DOVER's and those of
#: motion also where the signals condemn it.
SCHEMA: dict[str, pl.DataType] = {
    "clip_id": pl.String(),
    "shard": pl.String(),
    "problem": pl.String(),
    **{name: pl.Float64() for name in (*SIGNALS, *QUALITY, *MOTION)},
}
STRIP_SCHEMA: dict[str, pl.DataType] = {"clip_id": pl.String(), "frames": pl.Int32(), "strip": pl.Binary()}


def score_row(row: Mapping[str, Any], look: Look, quality: tuple[float, ...] | None) -> dict[str, Any]:
    """A row of the table. ``row``: of the clip table; ``quality``: DOVER's scores, if it was asked.

    Scores are rounded: beyond that, the order in which a library adds up numbers would show.
    """
    scores = {
        **(asdict(look.signals) if look.signals else dict.fromkeys(SIGNALS)),
        **dict(zip(QUALITY, quality or (None, None, None), strict=True)),
        **(asdict(look.motion) if look.motion else dict.fromkeys(MOTION)),
    }
    rounded = {name: None if value is None else round(value, _DIGITS) for name, value in scores.items()}
    return {"clip_id": row["clip_id"], "shard": row["shard"], "problem": look.problem, **rounded}


def read_scores(path: Path, clips: pl.DataFrame) -> pl.DataFrame:
    """The scores of the rows of a clip table, in its order; a row that was never measured has empty ones.

    Raises:
        UserError: there is no table of scores, it cannot be read, or a kept clip is not in it.
    """
    again = "measure again: dvc repro measure"
    if not path.is_file():
        raise UserError(f"no scores {path}", again)
    try:
        scores = pl.read_parquet(path)
    except (PolarsError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}", again) from error
    if missing := [name for name in SCHEMA if name not in scores.columns]:
        raise UserError(f"{path} lacks columns: {', '.join(missing)}", again)
    strangers = clips.filter(pl.col("kept")).join(scores, on="clip_id", how="anti")
    if not strangers.is_empty():
        raise UserError(f"{len(strangers)} kept clips, {strangers['clip_id'][0]} among them, are not in {path}", again)
    return clips.select("clip_id").join(scores, on="clip_id", how="left", maintain_order="left")


def read_strips(folder: Path, rows: pl.DataFrame) -> dict[str, Video]:
    """The strips of some rows of a clip table, uint8 [T, H, W, 3] by clip id; a clip that has none is left out.

    Raises:
        UserError: a file of strips is missing or damaged.
    """
    found: dict[str, Video] = {}
    for shard in rows["shard"].unique(maintain_order=True):
        path = strips_path(folder, shard)
        ids = rows.filter(pl.col("shard") == shard)["clip_id"].to_list()
        try:
            strips = pl.scan_parquet(path).filter(pl.col("clip_id").is_in(ids)).collect()
            for clip_id, frames, strip in strips.select("clip_id", "frames", "strip").iter_rows():
                if strip:
                    found[clip_id] = decode_strip(strip, frames)
        except (PolarsError, OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}", "measure again: dvc repro measure") from error
    return found


def strips_path(folder: Path, shard: str) -> Path:
    """The file of strips of a shard (its name in the clip table)."""
    return folder / f"{Path(shard).stem}.parquet"
