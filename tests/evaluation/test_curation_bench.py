"""The benchmark of curation: what it times is what it says."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import psutil
import pytest
import torch

from evaluation import curation_bench
from evaluation.curation_bench import Bench, in_turns, real_clips, time_decodings, world_clips
from hummingbird.data.measuring import shard
from hummingbird.miniature.dover import CONFIG
from hummingbird.models.dover import Dover
from hummingbird.params import Measure


def test_ways_take_turns() -> None:
    order: list[tuple[str, int]] = []
    ways = {name: lambda clips, name=name: order.append((name, len(clips))) for name in "ab"}
    seconds = in_turns(ways, [({}, b"")] * (curation_bench.TURN + 1), repeats=2)
    assert order == [("a", curation_bench.TURN), ("b", curation_bench.TURN), ("a", 1), ("b", 1)] * 2
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_memory_is_that_of_the_process_itself() -> None:
    ballast = bytearray(200_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert 0 < pool.apply(curation_bench._peak_of, ([],)) < psutil.Process().memory_info().rss


def test_files_that_do_not_decode_are_left_out(tmp_path: Path) -> None:
    [(row, video)] = world_clips(1)
    (tmp_path / "fine.mp4").write_bytes(video)
    (tmp_path / "torn.mp4").write_bytes(video[:500])
    (tmp_path / "list.csv").write_text("no video")
    assert [found["clip_id"] for found, _ in real_clips(tmp_path)] == ["fine"]
    assert row["num_frames"] == 8


def test_one_decoding_and_one_per_filter_measure_the_same_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    Dover(**CONFIG).save_pretrained(tmp_path)
    shard.load_dover.cache_clear()
    seen: list[tuple[str, str]] = []
    look_at = curation_bench.look_at

    def noted(video: bytes, row: dict, *rest: object, parts: frozenset[str], **options: object) -> object:
        seen.extend((row["clip_id"], part) for part in sorted(parts))
        return look_at(video, row, *rest, parts=parts, **options)

    monkeypatch.setattr(curation_bench, "look_at", noted)
    monkeypatch.setattr(curation_bench, "WARMUP", 0)
    clips = world_clips(3)
    result = time_decodings(clips, Bench(Measure(), tmp_path, repeats=1))
    assert result["clips"] == 3 and result["ratio"]["value"] > 0
    assert len(seen) == 18 and sorted(seen[:9]) == sorted(seen[9:])
