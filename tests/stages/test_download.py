from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hummingbird import workers
from hummingbird.data.clips import read_table
from hummingbird.data.shards import iter_videos, read_shard
from hummingbird.data.sources import TRUTH_SCHEMA, RawClip, WorldSource
from hummingbird.data.video_io import encode_mp4
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Download, Params
from hummingbird.runlog import SilentLog
from hummingbird.stages import download

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
    assert not any((tmp_path / ".work/download").iterdir())


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
    monkeypatch.setattr(workers, "_FEW", 0)
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
    assert codes == ["", "too_short", "unreadable", "unreadable", "missing"]
    assert figures["dropped_unreadable"] == 2
    assert pl.read_parquet(layout.truth).is_empty()
    [(row, video)] = iter_videos(layout.raw / "shards", table)
    assert (row["width"], row["height"], video.shape) == (48, 32, (12, 32, 48, 3))


def test_a_crawl_without_a_usable_clip_is_an_error(tmp_path: Path, crawl: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"no clip of .* can be used: 2 too_short, 2 unreadable, 1 missing"):
        download.run(Params(download=Download(**crawl, min_frames=13)), Layout(tmp_path), SilentLog())
    assert not (tmp_path / "data/raw").exists()


def test_the_real_clips_are_all_accounted_for(tmp_path: Path, project: Path) -> None:
    folder = project.parent / "shared/clips"
    if not folder.is_dir():
        pytest.skip("the real clips are not part of the repository")
    names = ("crush_027", "rot_90", "unordered", "corrupted", "error_test", "kedro")
    csv = [
        line for line in (folder / "clips.csv").read_text().splitlines() if any(n in line for n in ("videoid", *names))
    ]
    (tmp_path / "some.csv").write_text("\n".join(csv))
    params = Params(download=Download(source=str(folder), csv=str(tmp_path / "some.csv")))
    figures = download.run(params, Layout(tmp_path), SilentLog())
    assert figures["clips"] == 6
    assert figures["dropped_unreadable"] == figures["dropped_too_short"] == 2


def test_a_place_that_cannot_be_written_to_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write"):
        download.run(WORLD, Layout(tmp_path), SilentLog())
