from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hummingbird.data.clips import read_table
from hummingbird.data.fetching import Fetched
from hummingbird.data.intake import clips_of
from hummingbird.data.shards import Sample, iter_videos, read_shard, write_shard
from hummingbird.data.sources import TRUTH_SCHEMA, RawClip, WorldSource
from hummingbird.data.video_io import encode_mp4
from hummingbird.engine import local
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Download, Params, Preparation
from hummingbird.runlog import SilentLog
from hummingbird.stages import download

DROPPED = {"dropped_too_short": 2.0, "dropped_corrupt": 1.0, "dropped_empty": 1.0}
WORLD = Params(download=Download(clips=20, clips_per_shard=8))


class Counting(WorldSource):
    """A world that remembers which clips were drawn, and fails at clip ``broken``."""

    drawn: list[int]
    broken: int | None

    def clip(self, index: int) -> RawClip:
        self.drawn.append(index)
        if index == self.broken:
            raise KeyboardInterrupt
        return super().clip(index)


def counting(monkeypatch: pytest.MonkeyPatch, broken: int | None = None) -> list[int]:
    drawn: list[int] = []

    def open_source(params: Download) -> WorldSource:
        source = Counting(params)
        object.__setattr__(source, "drawn", drawn)
        object.__setattr__(source, "broken", broken)
        return source

    monkeypatch.setattr(download, "open_source", open_source)
    return drawn


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_world_is_written_with_its_truth(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    figures = download.run(WORLD, layout, SilentLog())
    table = read_table(layout.clip_table("download"))
    truth = pl.read_parquet(layout.truth)
    assert figures == {"clips": 20, "kept": 20, "kept_seconds": 20.0}
    assert table["clip_id"].to_list() == truth["clip_id"].to_list()
    assert table["clip_id"].n_unique() == 20
    assert sorted(p.name for p in (layout.raw / "shards").iterdir()) == ["00000.tar", "00001.tar", "00002.tar"]
    assert {video.shape for _, video in iter_videos(layout.raw / "shards", table)} == {(8, 32, 32, 3)}
    assert (layout.sheets("download") / "raw.png").stat().st_size > 1000
    for row in table.select("start_s", "transcoded", "phash", "duplicate_of").unique().iter_rows():
        assert row == (0.0, "", None, "")  # the world needs no preparation


def test_the_bytes_of_the_worlds_shards_are_the_worlds_own(tmp_path: Path) -> None:
    """Nothing that real videos need touches them."""
    download.run(WORLD, Layout(tmp_path), SilentLog())
    source = WorldSource(WORLD.download)
    for first in (0, 8, 16):
        name = f"{first // 8:05d}.tar"
        write_shard(tmp_path / name, (world_sample(source, index) for index in range(first, min(first + 8, 20))))
        assert (tmp_path / "data/raw/shards" / name).read_bytes() == (tmp_path / name).read_bytes()


def world_sample(source: WorldSource, index: int) -> Sample:
    clip = source.clip(index)
    meta = {
        "clip_id": clip.clip_id,
        "caption": clip.caption,
        "fps": 8.0,
        "num_frames": 8,
        "sha256": hashlib.sha256(clip.video).hexdigest(),
        "source": "world",
    }
    return Sample(f"{index:08d}", clip.video, meta)


def test_shards_tell_the_caption_but_never_the_truth(tmp_path: Path) -> None:
    download.run(WORLD, Layout(tmp_path), SilentLog())
    for sample in read_shard(tmp_path / "data/raw/shards/00000.tar"):
        assert not sample.meta.keys() & (TRUTH_SCHEMA.keys() - {"clip_id"})
        assert sample.meta["caption"]


def test_a_killed_run_goes_on_after_its_last_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path / "killed")
    counting(monkeypatch, broken=13)
    with pytest.raises(KeyboardInterrupt):
        download.run(WORLD, layout, SilentLog())
    assert not layout.raw.exists()
    drawn = counting(monkeypatch)
    download.run(WORLD, layout, SilentLog())
    assert drawn == list(range(8, 20))
    download.run(WORLD, layout, SilentLog())
    assert drawn == list(range(8, 20))  # nothing is left to do
    download.run(WORLD, Layout(tmp_path / "whole"), SilentLog())
    assert contents(layout.raw) == contents(tmp_path / "whole/data/raw")


def test_other_parameters_never_reuse_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting(monkeypatch, broken=13)
    with pytest.raises(KeyboardInterrupt):
        download.run(WORLD, Layout(tmp_path), SilentLog())
    drawn = counting(monkeypatch)
    other = Params(download=WORLD.download.model_copy(update={"world_seed": 12}))
    download.run(other, Layout(tmp_path), SilentLog())
    assert drawn == list(range(20))


def test_worker_processes_make_the_same_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download.run(WORLD, Layout(tmp_path / "one"), SilentLog())
    monkeypatch.setattr(local, "_FEW", 0)
    download.run(WORLD, Layout(tmp_path / "many"), SilentLog())
    assert contents(tmp_path / "one/data") == contents(tmp_path / "many/data")


@pytest.fixture
def crawl(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A folder with a good clip, one of a single frame, an empty file, a damaged and a missing one."""
    folder = tmp_path / "crawl"
    folder.mkdir()
    video = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    good = encode_mp4(video, 8)
    (folder / "good.mp4").write_bytes(good)
    (folder / "still.mp4").write_bytes(encode_mp4(video[:1], 8))
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "torn.mp4").write_bytes(good[: len(good) // 2])
    names = ("good", "still", "empty", "torn", "none")
    rows = [f"{n},http://host/{name}.mp4,PT1S,page,a {name} clip" for n, name in enumerate(names)]
    (folder / "clips.csv").write_text("\n".join(["videoid,contentUrl,duration,page_dir,name", *rows]))
    yield {"source": str(folder)}


def test_every_row_of_a_crawl_is_accounted_for(tmp_path: Path, crawl: dict[str, Any]) -> None:
    layout = Layout(tmp_path)
    figures = download.run(Params(download=Download(**crawl)), layout, SilentLog())
    table = read_table(layout.clip_table("download"))
    assert table["kept"].to_list() == [True, False, False, False, False]
    codes = [reason.split(":")[0] for reason in table["reason"]]
    assert codes == ["", "too_short", "empty", "truncated", "missing"]
    assert figures["dropped_truncated"] == 1
    assert table["phash"].is_not_null().to_list() == [True, True, False, False, False]
    assert pl.read_parquet(layout.truth).is_empty()
    [(row, video)] = iter_videos(layout.raw / "shards", table)
    assert (row["width"], row["height"], video.shape) == (48, 32, (12, 32, 48, 3))


def test_a_crawl_without_a_usable_clip_is_an_error(tmp_path: Path, crawl: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"no clip of .* can be used: 2 too_short, .*1 missing"):
        download.run(Params(download=Download(**crawl, min_frames=13)), Layout(tmp_path), SilentLog())
    assert not (tmp_path / "data/raw").exists()


def test_the_real_clips_are_all_accounted_for(tmp_path: Path, project: Path) -> None:
    folder = project.parent / "shared/clips"
    if not folder.is_dir():
        pytest.skip("the real clips are not part of the repository")
    names = ("crush_027", "rot_90", "unordered", "corrupted", "error_test", "kedro", "dj_video1")
    csv = [
        line for line in (folder / "clips.csv").read_text().splitlines() if any(n in line for n in ("videoid", *names))
    ]
    (tmp_path / "some.csv").write_text("\n".join(csv))
    params = Params(download=Download(source=str(folder), csv=str(tmp_path / "some.csv")))
    figures = download.run(params, Layout(tmp_path), SilentLog())
    assert figures == {"clips": 9, "kept": 5, **DROPPED, "kept_seconds": pytest.approx(21.055)}
    table = read_table(tmp_path / "data/raw/clips.parquet")
    ids = ["1000009", "1000011@1", "1000011@2", "1000011@3", "1000019", "1000024", "1000025", "1000026", "1000027"]
    assert table["clip_id"].to_list() == ids
    assert table["key"].to_list()[1:4] == ["00000001", "00000001-001", "00000001-002"]
    assert table["transcoded"].to_list()[:6] == ["audio", *["audio,cut"] * 3, "container", "rotation"]


def grow(crawl: dict[str, Any], *rows: str) -> None:
    with (Path(crawl["source"]) / "clips.csv").open("a") as csv:
        csv.write("".join(f"\n{row}" for row in rows))


def test_a_crawl_that_grows_touches_only_new_shards(
    tmp_path: Path, crawl: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    params = Params(download=Download(**crawl, clips_per_shard=3))
    download.run(params, layout, SilentLog())
    before = contents(layout.raw / "shards")
    inodes = {path.name: path.stat().st_ino for path in (layout.raw / "shards").iterdir()}
    table = read_table(layout.clip_table("download"))
    shutil.rmtree(layout.raw)  # as DVC does before it runs a stage again
    seen: list[str] = []

    def watched(fetched: Fetched, settings: Preparation) -> list[RawClip]:
        seen.append(fetched.item.clip_id)
        return clips_of(fetched, settings)

    monkeypatch.setattr(download, "clips_of", watched)
    grow(crawl, "9,http://host/good.mp4,PT1S,page,the good clip again", "10,http://host/other.mp4,PT1S,page,a new one")
    video = np.random.default_rng(1).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    (Path(crawl["source"]) / "other.mp4").write_bytes(encode_mp4(video, 8))
    download.run(params, layout, SilentLog())
    assert seen == ["9", "10"]
    assert before.items() <= contents(layout.raw / "shards").items()
    assert inodes.items() <= {path.name: path.stat().st_ino for path in (layout.raw / "shards").iterdir()}.items()
    grown = read_table(layout.clip_table("download"))
    assert grown[:5].equals(table)
    assert grown["reason"].to_list()[5:] == ["duplicate: of 0", ""]
    assert grown["shard"].to_list() == ["00000.tar", "00000.tar", "", "", "", "00002.tar", "00002.tar"]


def test_one_bar_counts_items_and_the_verdicts_of_their_clips(tmp_path: Path, crawl: dict[str, Any], told: Any) -> None:
    params = Params(download=Download(**crawl, clips_per_shard=3))
    download.run(params, Layout(tmp_path), told)
    dropped = {"too_short": 1, "empty": 1, "truncated": 1, "missing": 1}
    assert told.bars == [("downloading", 5, 5)]
    assert told.verdicts == [{"kept": 1, **dropped}]
    long = np.random.default_rng(1).integers(0, 256, (24, 32, 48, 3), dtype=np.uint8)
    (Path(crawl["source"]) / "long.mp4").write_bytes(encode_mp4(long, 8))
    grow(crawl, "9,http://host/long.mp4,PT3S,page,a long one in parts")
    again = Params(download=Download(**crawl, clips_per_shard=3, preparation=Preparation(max_clip_s=1.5)))
    for _ in range(2):  # the second time all of it is there
        download.run(again, Layout(tmp_path), told)
        assert told.bars[-1] == ("downloading", 6, 6)
        assert told.verdicts[-1] == {"kept": 3, **dropped}


def test_shards_are_bounded_in_bytes_too(
    tmp_path: Path, crawl: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        frames = np.random.default_rng(number).integers(0, 256, (12, 128, 128, 3), dtype=np.uint8)
        (Path(crawl["source"]) / f"noise{number}.mp4").write_bytes(encode_mp4(frames, 8, crf=0))
        grow(crawl, f"n{number},http://host/noise{number}.mp4,,page,white noise")
    size = (Path(crawl["source"]) / "noise0.mp4").stat().st_size
    download.run(Params(download=Download(**crawl, shard_mb=1)), Layout(tmp_path), SilentLog())
    table = read_table(tmp_path / "data/raw/clips.parquet")
    assert size > 500_000  # no two of them fit
    assert table["shard"].to_list()[5:] == [f"00000{part}.tar" for part in ("", "-01", "-02", "-03")]
    assert len(list(iter_videos(tmp_path / "data/raw/shards", table))) == 5


def test_captions_of_any_kind_go_through(tmp_path: Path, crawl: dict[str, Any]) -> None:
    captions = ["ein Füchslein läuft", "一只狐狸在森林里", "ثعلب في الغابة", "🦊 ¯\\_(ツ)_/¯", "long " * 2000, ""]
    for number, caption in enumerate(captions):
        frames = np.random.default_rng(number).integers(0, 256, (8, 32, 48, 3), dtype=np.uint8)
        (Path(crawl["source"]) / f"c{number}.mp4").write_bytes(encode_mp4(frames, 8))
        grow(crawl, f'c{number},http://host/c{number}.mp4,,page,"{caption}"')
    download.run(Params(download=Download(**crawl)), Layout(tmp_path), SilentLog())
    table = read_table(tmp_path / "data/raw/clips.parquet")
    assert table["caption"].to_list()[5:] == [caption.strip() for caption in captions]
    assert table["reason"].to_list()[5:] == ["", "", "", "", "", "no_caption"]
    samples = {sample.key: sample.meta for sample in read_shard(tmp_path / "data/raw/shards/00000.tar")}
    assert [samples[key]["caption"] for key in table["key"].to_list()[5:]] == table["caption"].to_list()[5:]


def test_a_place_that_cannot_be_written_to_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write"):
        download.run(WORLD, Layout(tmp_path), SilentLog())
