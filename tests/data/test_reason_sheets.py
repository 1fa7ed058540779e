"""Sheets by reason: every reason has one, under a name that any file system takes, and every clip a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hummingbird.data import video_io, world
from hummingbird.data.clips import clip_table
from hummingbird.data.crawl_sheets import write_crawl_sheets
from hummingbird.data.reason_sheets import dropped_heaps, sheet_name, write_sheets
from hummingbird.data.shards import Sample, write_shard
from hummingbird.runlog import SilentLog


class Noted(SilentLog):
    def __init__(self) -> None:
        self.images: dict[str, Any] = {}

    def image(self, key: str, image: Any, step: int | None = None) -> None:
        self.images[key] = image


def crawl(reasons: list[str]) -> pl.DataFrame:
    """Clips in the shard, but for those that were never fetched (http, missing)."""
    fetched = [not reason.startswith(("http", "missing")) for reason in reasons]
    base = {name: None for name in clip_table([]).columns} | {"caption": "a\ncat", "height": 32, "width": 32}
    rows = [
        {
            **base,
            "clip_id": f"clip{number}",
            "shard": "00000.tar" if there else "",
            "key": f"{number:08d}",
            "kept": not reason,
            "reason": reason,
        }
        for number, (reason, there) in enumerate(zip(reasons, fetched, strict=True))
    ]
    return clip_table(rows)


def shard(folder: Path, table: pl.DataFrame, broken: int) -> None:
    keys = table.filter(pl.col("shard") != "")["key"]
    videos = [video_io.encode_mp4(world.make_clip(1, n).video, 8) for n in range(len(keys))]
    videos[broken] = b"no video"
    write_shard(folder / "00000.tar", [Sample(key, video) for key, video in zip(keys, videos, strict=True)])


def test_each_reason_of_a_crawl_has_a_sheet_and_each_clip_a_tile(tmp_path: Path) -> None:
    table = crawl(["", "too_short: 3 frames", "http_404", "", "too_short: 1 frames", "missing", "no_caption"])
    shard(tmp_path, table, broken=3)
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets/dropped_of_the_last_run.png").write_bytes(b"old")
    log = Noted()
    write_crawl_sheets(tmp_path / "sheets", tmp_path, table, log)
    names = {path.stem for path in (tmp_path / "sheets").iterdir()}
    assert names == {"raw", "dropped_too_short", "dropped_http_404", "dropped_missing", "dropped_no_caption"}
    assert set(log.images) == {f"{name} by sheets" for name in names}
    grey = (228, 228, 228)
    assert (log.images["dropped_http_404 by sheets"][12, 12] == grey).all()
    too_short = log.images["dropped_too_short by sheets"]
    half = too_short.shape[1] // 2
    assert (too_short[12, 12] != grey).any() and (too_short[12, half + 12] == grey).all()  # the second is broken


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("http_404: gone", "dropped_http_404"),
        ("../../etc/passwd", "dropped_etc_passwd"),
        ("Zu Kurz!", "dropped_zu_kurz"),
        ("短い", "dropped_other"),
        ("x" * 500, "dropped_" + "x" * 60),
    ],
)
def test_names_are_safe(reason: str, name: str) -> None:
    assert sheet_name(reason) == name


def test_reasons_that_share_a_name_share_a_sheet_and_none_is_lost() -> None:
    heaps = dropped_heaps(crawl(["too short", "http_404", "too_short", "Too-Short: 1"]))
    assert {name: len(rows) for name, rows in heaps.items()} == {"dropped_too_short": 3, "dropped_http_404": 1}
    assert next(iter(heaps)) == "dropped_too_short"
    assert "sheet" in heaps["dropped_http_404"].columns


def test_large_heaps_are_sampled_from_first_to_last(tmp_path: Path) -> None:
    seen: list[str] = []

    def videos(rows: pl.DataFrame) -> dict[str, np.ndarray]:
        seen.extend(rows["clip_id"])
        return {}

    write_sheets(tmp_path / "sheets", {"all": crawl(["x"] * 47), "none": crawl([])}, videos, lambda row: "", Noted())
    assert len(seen) == 24 and (seen[0], seen[-1]) == ("clip0", "clip46")
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["all.png"]
