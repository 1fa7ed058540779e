"""The gates: what a crawl may hold passes, what no later stage could use is named with value, clip and page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hummingbird.data.clips import SCHEMA, clip_table
from hummingbird.data.measuring.table import MOTION, QUALITY, SIGNALS
from hummingbird.data.measuring.table import SCHEMA as SCORES
from hummingbird.data.motion import MotionScores, camera_kind
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops import gates, suites
from hummingbird.params import Curation, MinKept, Params, dump_params


def clips(count: int = 10, stage: str = "download") -> pl.DataFrame:
    """A table as a stage leaves it: every third clip was dropped, and every fifth caption left as it came."""
    rows = [
        {
            "clip_id": f"{index:06d}",
            "shard": "00000.tar",
            "key": f"{index:08d}",
            "caption": "a red circle moves left",
            "duration_s": 1.0,
            "fps": 8.0,
            "width": 32,
            "height": 32,
            "num_frames": 8,
            "sha256": "0" * 64,
            "source": "world",
            "source_id": f"{index}",
            "start_s": 0.0,
            "transcoded": "",
            "phash": None,
            "duplicate_of": "",
            "kept": index % 3 != 0,
            "reason": "" if index % 3 else "blurred",
        }
        for index in range(count)
    ]
    table = clip_table(rows)
    at = suites.CLIP_TABLES.index(stage)
    if at >= 1:
        table = table.with_columns(pl.lit(0.5).alias(name) for name in (*SIGNALS, *QUALITY))
    if at >= 2:
        table = table.with_columns(*(pl.lit(0.5).alias(name) for name in MOTION), camera=pl.lit("pan"))
    if at >= 3:
        left = pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.lit("too_long: 99 tokens")).otherwise(pl.lit(""))
        table = table.with_columns(raw_caption="caption", recaption_reason=pl.when("kept").then(left))
    return table


def scores(count: int = 10) -> pl.DataFrame:
    """As measured: the last clip was condemned by the cheap signals, and has no scores of DOVER and of motion."""
    names = [name for name in SCORES if name not in ("clip_id", "shard", "problem")]
    table = clips(count).select("clip_id", "shard", problem=pl.lit(""), **{name: pl.lit(0.5) for name in names})
    last = pl.int_range(pl.len()) == count - 1
    spared = [pl.when(~last).then(pl.col(name)).alias(name) for name in (*QUALITY, *MOTION)]
    return table.with_columns(spared)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "params.yaml").write_text(dump_params(Params()))
    return Layout(tmp_path)


def write(layout: Layout, stage: str, table: pl.DataFrame) -> None:
    path = gates.table_of(stage, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(path)


def first(value: Any, column: str) -> pl.Expr:
    """``value`` in the first kept row."""
    return pl.when(pl.int_range(pl.len()) == 1).then(pl.lit(value)).otherwise(column).alias(column)


@pytest.mark.parametrize("stage", suites.CLIP_TABLES)
def test_a_good_table_passes_and_has_a_page(layout: Layout, stage: str) -> None:
    write(layout, stage, clips(stage=stage))
    gates.check(stage, layout)
    site = layout.reports / "data_docs"
    assert f'href="{stage}.html"' in (site / "index.html").read_text()
    page = (site / f"{stage}.html").read_text()
    assert "expectations are met" in page and "✗" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_pages_say_what_the_columns_hold(layout: Layout) -> None:
    table = clips(40).with_columns(first(float("nan"), "fps"), first("x" * 1234, "caption"), first(64, "width"))
    write(layout, "download", table)
    with pytest.raises(UserError, match="fps is never missing"):
        gates.check("download", layout)
    page = (layout.reports / "data_docs/download.html").read_text()
    for said in ("Float64; 8 to 8", "String; 2 different, up to 1,234 characters", "Int32; 32 to 64", "40 missing"):
        assert said in page


def test_good_scores_pass(layout: Layout) -> None:
    write(layout, "measure", scores())
    gates.check("measure", layout)


def test_what_a_crawl_may_hold_breaks_no_gate(layout: Layout) -> None:
    table = clips(40, "recaption")
    odd = {
        "caption": ["猫", "x" * 10_000, "قطة تركض\u202e", "a\nb\x00<b>", "cat"],
        "fps": [240.0, 0.2, 59.94, 8.0, 8.0],
        "width": [3840, 2, 7680, 32, 32],
        "height": [2160, 2, 4320, 32, 32],
        "duration_s": [0.03, 3000.0, 1.0, 1.0, 1.0],
        "num_frames": [1, 200_000, 8, 8, 8],
        "transcoded": ["10_bit,hdr,too_large", "cut", "", "", ""],
        "phash": ["00ff" * 4, None, "0" * 16, None, None],
    }
    at = [row for row in range(40) if row % 15 == 10 or row % 15 == 5]  # kept, and left as they came
    for name, values in odd.items():
        column = table[name].to_list()
        for row, value in zip(at, values, strict=True):
            column[row] = value
        table = table.with_columns(pl.Series(name, column, dtype=SCHEMA[name]))
    unreadable = pl.col("kept") | (pl.int_range(pl.len()) > 20)
    table = table.with_columns(pl.when(unreadable).then(pl.col(name)).alias(name) for name in ("fps", "sha256"))
    table = table.with_columns(raw_caption="caption", duplicate_of=first("000004", "duplicate_of"))
    write(layout, "recaption", table)
    gates.check("recaption", layout)
    write(layout, "download", table.select(SCHEMA.keys()))
    gates.check("download", layout)


@pytest.mark.parametrize(
    ("stage", "change", "named"),
    [
        ("measure", pl.lit(1.5).alias("overall"), "overall is from 0 to 1; 10 of 10 rows.*1.5 .clip “000000”"),
        ("measure", pl.lit(None, pl.Float64).alias("black"), "black is never missing .clips that can be read"),
        ("measure", pl.lit("unreadable: torn").alias("problem"), "problem is empty text in at least 90 %.*torn"),
        ("measure", pl.lit(-0.1).alias("jitter"), "jitter is at least 0;"),
        ("download", pl.lit("same").alias("clip_id"), "clip_id differs in every row; 10 of 10"),
        ("download", first(500_000.0, "fps"), "fps is more than 0 and at most 1,000 .kept clips.; 1 of 6.*500000"),
        ("download", first(float("nan"), "duration_s"), "duration_s is never missing"),
        ("download", first("", "caption"), "caption has at least 1 character"),
        ("download", first(None, "caption"), "caption is never missing"),
        ("download", pl.lit("").alias("reason"), "reason is a code.*dropped clips"),
        ("download", pl.lit("odd").alias("reason"), "reason is empty text .kept clips.*“odd”"),
        ("download", first("nobody", "duplicate_of"), "duplicate_of names another clip.*“nobody” .clip “000001”"),
        ("download", first("000001", "duplicate_of"), "duplicate_of names another clip"),
        ("download", first("abc", "sha256"), "sha256 is 64 hexadecimal digits"),
        ("download", first("Not A Hash 12345", "phash"), "phash is 16 hexadecimal digits"),
        ("download", pl.lit("k").alias("key"), "shard and key are a pair that occurs once"),
        ("vqa_filter", first(1.2, "technical"), "technical is from 0 to 1 .kept clips"),
        ("vqa_filter", first(None, "bars"), "bars is never missing .kept clips"),
        ("motion_filter", first("sideways", "camera"), "camera is one of fixed.*“sideways”"),
        (
            "recaption",
            first("x" * 501, "caption"),
            "caption has from 3 to 500 characters .captions that were rewritten",
        ),
        ("recaption", first(None, "recaption_reason"), "recaption_reason is never missing .kept"),
        ("recaption", pl.lit("another").alias("raw_caption"), "caption and raw_caption are the same .* left as they"),
        ("recaption", pl.lit("").alias("recaption_reason"), "recaption_reason is missing .dropped clips"),
    ],
)
def test_a_broken_table_is_named_with_rows_and_value(layout: Layout, stage: str, change: pl.Expr, named: str) -> None:
    table = scores() if stage == "measure" else clips(stage=stage)
    write(layout, stage, table.with_columns(change))
    with pytest.raises(UserError, match=named) as caught:
        gates.check(stage, layout)
    assert f"data_docs/{stage}.html" in caught.value.next_step
    page = (layout.reports / "data_docs" / f"{stage}.html").read_text()
    assert "are not met" in page and "✗" in page


def test_missing_and_mistyped_columns_are_named_and_nothing_else(layout: Layout) -> None:
    write(layout, "download", clips().drop("sha256").with_columns(width=pl.lit("wide"), clip_id=pl.lit("same")))
    with pytest.raises(UserError, match=r"width is String, sha256 is missing\n.*rows were not looked at") as caught:
        gates.check("download", layout)
    assert "differs" not in caught.value.problem


def test_the_bound_of_what_is_kept_is_the_users(layout: Layout) -> None:
    codes = ["http_404", "http_404: gone", "unreachable", "corrupt", "", "", "too_short", "no_caption", "empty", "x"]
    table = clips().with_columns(reason=pl.Series(codes), kept=pl.Series([not code for code in codes]))
    write(layout, "download", table)
    with pytest.raises(UserError) as caught:
        gates.check("download", layout)
    assert "2 of 10 clips are left, fewer than curation.min_kept.download = 0.5 asks for" in caught.value.problem
    assert "Dropped: 2 http_404" in caught.value.problem and "and 2 more reasons" in caught.value.problem
    assert "lower curation.min_kept.download in params.yaml" in caught.value.problem
    loose = Params(curation=Curation(min_kept=MinKept(download=0.2)))
    (layout.root / "params.yaml").write_text(dump_params(loose))
    gates.check("download", layout)


def test_an_empty_table_and_one_without_kept_clips_are_told(layout: Layout) -> None:
    write(layout, "download", clips().clear())
    with pytest.raises(UserError, match="whole table has at least 1 row; found 0"):
        gates.check("download", layout)
    write(layout, "download", clips().with_columns(kept=pl.lit(False), reason=pl.lit("no_caption")))
    with pytest.raises(UserError, match=r"found 0 %.*\n.*0 of 10 clips are left.*10 no_caption"):
        gates.check("download", layout)


def test_missing_and_half_written_tables_are_told_apart(layout: Layout) -> None:
    with pytest.raises(UserError, match="no table"):
        gates.check("recaption", layout)
    path = layout.clip_table("recaption")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="not a readable table"):
        gates.check("recaption", layout)


def test_pages_do_not_pile_up_and_hostile_text_stays_text(layout: Layout) -> None:
    hostile = "<script>alert(1)</script>" + "x" * 10_000
    write(layout, "download", clips().with_columns(first(hostile, "reason")))
    write(layout, "measure", scores())
    for _ in range(2):
        gates.check("measure", layout)
        with pytest.raises(UserError, match=r"10,025 characters"):
            gates.check("download", layout)
    site = layout.reports / "data_docs"
    assert sorted(path.name for path in site.iterdir()) == [
        "download.html", "download.json", "index.html", "measure.html", "measure.json"
    ]  # fmt: skip
    page = (site / "download.html").read_text()
    assert "&lt;script&gt;" in page and "<script" not in page and len(page) < 60_000
    index = (site / "index.html").read_text()
    assert index.index("download.html") < index.index("measure.html")
    assert index.count(" not met") == 1
    assert not (layout.root / ".work").exists()


def test_names_that_are_written_again_are_those_of_the_code() -> None:
    from hummingbird.data.latent_shards import INDEX_SCHEMA

    assert (suites.SIGNALS, suites.QUALITY, suites.MOTION) == (SIGNALS, QUALITY, MOTION)
    assert suites.columns_of("measure") == {name: str(kind) for name, kind in SCORES.items()}
    assert {name: str(kind) for name, kind in INDEX_SCHEMA.items()} == suites.LATENTS_INDEX
    moved = [
        {},
        {"camera_pan": 1.0},
        {"camera_zoom": 1.0},
        {"camera_rotation": 1.0},
        {"forward": 1.0},
        {"forward": -1.0},
    ]
    found = [camera_kind(MotionScores(**{**dict.fromkeys(MOTION, 0.0), **scores})) for scores in moved]
    assert found == list(suites.CAMERA)
