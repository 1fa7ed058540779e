"""The benchmark of curation: what it times is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evaluation import curation_bench
from evaluation.curation_bench import Bench, in_turns, real_clips, time_decodings, world_clips
from hummingbird.data.measuring import shard
from hummingbird.miniature.dover import CONFIG
from hummingbird.models.dover import Dover
from hummingbird.params import Measure


def test_ways_take_turns() -> None:
    order: list[str] = []
    seconds = in_turns({name: lambda name=name: order.append(name) for name in "ab"}, repeats=3)
    assert order == list("ababab")
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


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
