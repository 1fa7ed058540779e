from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hummingbird.data.clips import SCHEMA, clip_table
from hummingbird.data.shards import Sample, ShardWriter, iter_clips, iter_videos, read_shard, write_shard
from hummingbird.data.video_io import encode_mp4
from hummingbird.errors import UserError


def clip(value: int) -> bytes:
    return encode_mp4(np.full((2, 16, 16, 3), value, np.uint8), 8)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [Sample(f"{n:04d}", clip(40 * n), {"caption": f"number {n}"}) for n in range(5)]


@pytest.fixture
def folder(tmp_path: Path, samples: list[Sample]) -> Path:
    write_shard(tmp_path / "0.tar", samples[:3])
    write_shard(tmp_path / "1.tar", samples[3:])
    return tmp_path


def table(order: list[int], dropped: tuple[int, ...] = ()) -> pl.DataFrame:
    rows = [
        dict.fromkeys(SCHEMA)
        | {"clip_id": f"c{n}", "shard": f"{n // 3}.tar", "key": f"{n:04d}", "kept": n not in dropped, "reason": ""}
        for n in order
    ]
    return clip_table(rows)


def test_shards_have_webdatasets_layout_and_read_back(folder: Path, samples: list[Sample]) -> None:
    with tarfile.open(folder / "0.tar") as tar:
        assert tar.getnames() == [f"{n:04d}.{kind}" for n in range(3) for kind in ("mp4", "json")]
    assert list(read_shard(folder / "0.tar")) == samples[:3]


def test_bytes_depend_on_the_samples_alone(folder: Path, samples: list[Sample]) -> None:
    write_shard(folder / "again/0.tar", samples[:3])
    assert (folder / "again/0.tar").read_bytes() == (folder / "0.tar").read_bytes()


def test_a_shard_that_would_grow_too_large_is_continued_in_another(tmp_path: Path, samples: list[Sample]) -> None:
    two = len(samples[0].video) + len(samples[1].video)
    with ShardWriter(tmp_path, "7", two) as writer:
        placed = [writer.add(sample) for sample in samples]
    assert placed == ["7.tar", "7.tar", "7-01.tar", "7-01.tar", "7-02.tar"]
    assert writer.shards == ["7.tar", "7-01.tar", "7-02.tar"]
    assert [sample for shard in writer.shards for sample in read_shard(tmp_path / shard)] == samples
    write_shard(tmp_path / "same.tar", samples[:2])
    assert (tmp_path / "same.tar").read_bytes() == (tmp_path / "7.tar").read_bytes()


def test_a_sample_larger_than_a_shard_gets_its_own(tmp_path: Path, samples: list[Sample]) -> None:
    with ShardWriter(tmp_path, "7", 1) as writer:
        assert [writer.add(sample) for sample in samples[:2]] == ["7.tar", "7-01.tar"]


def test_a_writer_that_fails_leaves_whole_shards_only(tmp_path: Path, samples: list[Sample]) -> None:
    with pytest.raises(RuntimeError, match="the source broke"), ShardWriter(tmp_path, "7", 1) as writer:
        writer.add(samples[0])
        writer.add(samples[1])
        raise RuntimeError("the source broke")
    assert [path.name for path in tmp_path.iterdir()] == ["7.tar"]
    with ShardWriter(tmp_path / "none", "7", 1):
        pass
    assert not (tmp_path / "none").exists()


def test_clips_come_in_the_order_of_the_table(folder: Path, samples: list[Sample]) -> None:
    found = list(iter_clips(folder, table([4, 0, 3, 2, 1])))
    assert [row["clip_id"] for row, _ in found] == ["c4", "c0", "c3", "c2", "c1"]
    assert all(data == samples[int(row["key"])].video for row, data in found)


def test_dropped_clips_and_those_without_a_video_are_passed_over(folder: Path) -> None:
    clips = table([0, 1, 2, 3], dropped=(1,))
    clips = clips.with_columns(shard=pl.when(pl.col("clip_id") == "c2").then(pl.lit("")).otherwise("shard"))
    assert [row["clip_id"] for row, _ in iter_clips(folder, clips)] == ["c0", "c3"]
    assert [row["clip_id"] for row, _ in iter_clips(folder, clips, kept_only=False)] == ["c0", "c1", "c3"]


def test_videos_come_decoded(folder: Path) -> None:
    found = list(iter_videos(folder, table([1, 3]), cover=(8, 8), max_frames=1))
    assert [video.shape for _, video in found] == [(1, 8, 8, 3)] * 2
    assert [round(video.mean() / 40) for _, video in found] == [1, 3]


def test_a_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    def samples() -> object:
        yield Sample("0", b"x")
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_shard(tmp_path / "0.tar", samples())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_missing_shards_are_explained(folder: Path, samples: list[Sample]) -> None:
    path = folder / "0.tar"
    path.write_bytes(path.read_bytes()[:1700])
    with pytest.raises(UserError, match="truncated or damaged"):
        list(read_shard(path))
    with pytest.raises(UserError, match="truncated or damaged"):
        list(iter_clips(folder, table([0, 1, 2])))
    path.unlink()
    with pytest.raises(UserError, match="no shard"):
        list(iter_clips(folder, table([0])))
    write_shard(path, samples[:1])
    with pytest.raises(UserError, match=r"has no 0002\.mp4"):
        list(iter_clips(folder, table([2])))


def test_a_video_that_no_longer_decodes_names_its_clip(folder: Path) -> None:
    write_shard(folder / "0.tar", [Sample("0000", b"rubbish")])
    with pytest.raises(UserError, match=r"clip c0 in .*cannot be decoded"):
        list(iter_videos(folder, table([0])))
