from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from hummingbird.data.measuring.table import MOTION, QUALITY, SCHEMA
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops import gates


def clips(count: int = 10) -> pl.DataFrame:
    kept = [index % 3 != 0 for index in range(count)]
    return pl.DataFrame(
        {
            "clip_id": [f"{index:06d}" for index in range(count)],
            "shard": "00000",
            "key": [f"{index:06d}" for index in range(count)],
            "caption": "a red circle moves left",
            "duration_s": 1.0,
            "fps": 8.0,
            "width": 32,
            "height": 32,
            "num_frames": 8,
            "sha256": "0" * 64,
            "source": "world",
            "kept": kept,
            "reason": ["" if keep else "blurred" for keep in kept],
        }
    )


def scores(count: int = 10) -> pl.DataFrame:
    """As measured: the last clip was condemned by the cheap signals, and has no scores of DOVER and of motion."""
    names = [name for name in SCHEMA if name not in ("clip_id", "shard", "problem")]
    table = clips(count).select("clip_id", "shard", problem=pl.lit(""), **{name: pl.lit(0.5) for name in names})
    last = pl.int_range(pl.len()) == count - 1
    spared = [pl.when(~last).then(pl.col(name)).alias(name) for name in (*QUALITY, *MOTION)]
    return table.with_columns(spared)


def write(layout: Layout, stage: str, table: pl.DataFrame) -> None:
    path = gates.table_of(stage, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(path)


@pytest.mark.parametrize("stage", ["download", "vqa_filter", "motion_filter", "recaption"])
def test_a_good_table_passes_and_has_a_page(tmp_path: Path, stage: str) -> None:
    layout = Layout(tmp_path)
    write(layout, stage, clips())
    gates.check(stage, layout)
    assert stage in (tmp_path / "reports/data_docs/index.html").read_text()


def test_good_scores_pass(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write(layout, "measure", scores())
    gates.check("measure", layout)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (pl.lit(1.5).alias("overall"), "between.*overall.*1.5"),
        (pl.lit(None).alias("black"), "not_be_null.*black"),
        (pl.lit("unreadable: torn").alias("problem"), "in_set.*problem.*torn"),
        (pl.lit(-0.1).alias("jitter"), "between.*jitter"),
    ],
)
def test_broken_scores_are_named(tmp_path: Path, change: pl.Expr, named: str) -> None:
    layout = Layout(tmp_path)
    write(layout, "measure", scores().with_columns(change))
    with pytest.raises(UserError, match=named):
        gates.check("measure", layout)


def test_a_rejected_clip_may_lack_what_could_not_be_read(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    unreadable = pl.when(pl.col("kept")).then(pl.col("fps")).alias("fps")
    write(layout, "download", clips().with_columns(unreadable))
    gates.check("download", layout)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (pl.lit("same").alias("clip_id"), "unique.*clip_id.*10 of 10"),
        (pl.lit(False).alias("kept"), "mean.*kept.*found 0"),
        (pl.lit(500.0).alias("fps"), "between.*fps.*500"),
        (pl.lit("").alias("caption"), "lengths.*caption"),
        (pl.lit("").alias("reason"), "lengths.*reason"),
        (pl.lit("odd").alias("reason"), "in_set.*reason.*odd"),
    ],
)
def test_a_broken_table_names_expectation_value_and_page(tmp_path: Path, change: pl.Expr, named: str) -> None:
    layout = Layout(tmp_path)
    write(layout, "vqa_filter", clips().with_columns(change))
    with pytest.raises(UserError, match=named) as caught:
        gates.check("vqa_filter", layout)
    assert "data_docs" in caught.value.next_step


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write(layout, "download", clips().drop("sha256"))
    with pytest.raises(UserError, match=r"expect_column_to_exist.*sha256"):
        gates.check("download", layout)


def test_missing_and_half_written_tables_are_told_apart(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(UserError, match="no table"):
        gates.check("recaption", layout)
    path = layout.clip_table("recaption")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="not a readable table"):
        gates.check("recaption", layout)
