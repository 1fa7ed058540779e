from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from hummingbird.data import latents as module
from hummingbird.data.latent_shards import EMPTY_PROMPT, INDEX_SCHEMA, EncodedClip, is_whole, write_latent_shard
from hummingbird.data.latents import LatentDataset
from hummingbird.errors import UserError

LENGTHS = (12, 8, 20, 9, 16, 3)


def encoded(number: int) -> EncodedClip:
    """Every latent value is 100 * clip + frame, so that a batch tells where it was cut."""
    frames = 100.0 * number + torch.arange(float(LENGTHS[number]))
    return EncodedClip(
        clip_id=f"c{number}",
        latents=frames[:, None, None, None].expand(-1, 2, 3, 4),
        text=torch.full((5, 6), float(number)),
        fps=24.0,
        caption=f"caption {number}",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shards = {"0.safetensors": (0, 1, 2), "1.safetensors": (3, 4, 5)}
    parts = [write_latent_shard(tmp_path / name, [encoded(n) for n in clips]) for name, clips in shards.items()]
    pl.concat(parts).write_parquet(tmp_path / "index.parquet")
    save_file({"text": torch.full((1, 5, 6), -1.0)}, tmp_path / EMPTY_PROMPT)
    return tmp_path


def test_batches_have_the_shapes_that_methods_expect(folder: Path) -> None:
    data = LatentDataset(folder)
    batch = data.batch(0, batch_size=3, num_frames=4)
    assert batch["latents"].shape == (3, 2, 4, 3, 4)
    assert batch["text"].shape == (3, 5, 6)
    assert batch["fps"].tolist() == [24.0] * 3
    assert batch["latents"].dtype == batch["text"].dtype == torch.float32
    assert len(data) == 6
    assert (data.empty_text == -1).all()


def test_a_batch_follows_from_seed_and_step_alone(folder: Path) -> None:
    first = LatentDataset(folder).batch(5, 3, 4, (1, 3), seed=2)
    batches = LatentDataset(folder).batches(3, 4, (1, 3), seed=2)
    batches(0)
    again = batches(5)
    assert torch.equal(first["latents"], again["latents"])
    assert first["captions"] == again["captions"]
    other = [LatentDataset(folder).batch(step, 3, 4, (1, 3), seed=3)["captions"] for step in range(6)]
    assert other != [batches(step)["captions"] for step in range(6)]


def test_every_epoch_is_another_permutation(folder: Path) -> None:
    batches = LatentDataset(folder).batches(4, 3)
    seen = [caption for step in range(9) for caption in batches(step)["captions"]]  # 36 clips: six epochs of six
    epochs = [tuple(seen[n : n + 6]) for n in range(0, 36, 6)]
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    assert len(set(epochs)) > 1


def test_windows_keep_within_their_clip_at_the_stride_that_fps_tells(folder: Path) -> None:
    batches = LatentDataset(folder).batches(5, 4, (1, 6))
    strides, starts = set(), set()
    for step in range(60):
        batch = batches(step)
        for values, fps, text, caption in zip(*(batch[k] for k in ("latents", "fps", "text", "captions")), strict=True):
            number = int(caption.split()[1])
            frames = values[0, :, 0, 0] - 100 * number
            gaps = frames.diff()
            assert (gaps == gaps[0]).all()
            assert 24 / float(gaps[0]) == pytest.approx(float(fps))
            assert frames[0] >= 0
            assert frames[-1] < LENGTHS[number]
            assert (text == number).all()
            strides.add(int(gaps[0]))
            starts.add(int(frames[0]))
    assert strides == {1, 2, 3, 4, 5, 6}
    assert len(starts) > 5


def test_the_stride_gives_way_where_a_clip_is_short(folder: Path) -> None:
    batches = LatentDataset(folder).batches(5, 8, (4, 4))
    found = {caption: float(fps) for step in range(3) for b in [batches(step)] for caption, fps in
             zip(b["captions"], b["fps"], strict=True)}  # fmt: skip
    assert found == {"caption 0": 24, "caption 1": 24, "caption 2": 12, "caption 3": 24, "caption 4": 12}


def test_a_clip_is_cut_at_every_stride_that_its_length_allows_equally_often(folder: Path) -> None:
    batches = LatentDataset(folder).batches(6, 4, (2, 6))
    strides = [
        round(24 / float(fps))
        for number in range(120)
        for batch in [batches(number)]
        for caption, fps in zip(batch["captions"], batch["fps"], strict=True)
        if caption == "caption 0"  # 12 frames: windows of 4 have stride 3 at most
    ]
    assert set(strides) == {2, 3}
    assert 0.35 < strides.count(3) / len(strides) < 0.65


def test_with_few_shards_an_epoch_is_the_plain_permutation(folder: Path) -> None:
    """The draws of a run at stride 1, written out: neither order nor windows may change between versions."""
    batches = LatentDataset(folder).batches(3, 3, seed=7)
    for number in range(6):
        order = np.random.default_rng([7, 0, number // 2]).permutation(6)
        rng = np.random.default_rng([7, 1, number])
        batch = batches(number)
        for place, clip in enumerate(order[number % 2 * 3 :][:3]):
            start = rng.integers(LENGTHS[clip] - 2)
            assert batch["latents"][place, 0, :, 0, 0].tolist() == [100.0 * clip + start + k for k in range(3)]


def test_files_are_open_only_while_they_are_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_SHARDS", 3)
    clips = [replace(encoded(0), clip_id=f"c{n}", caption=f"caption {n}") for n in range(40)]
    parts = [write_latent_shard(tmp_path / f"{n}.safetensors", [clips[n]]) for n in range(40)]
    pl.concat(parts).write_parquet(tmp_path / "index.parquet")
    save_file({"text": torch.zeros(1, 5, 6)}, tmp_path / EMPTY_PROMPT)
    data = LatentDataset(tmp_path)
    batches = data.batches(4, 4)
    seen = []
    for number in range(10):
        seen += batches(number)["captions"]
        assert len(data._open) <= 3
    assert len(set(seen)) == 40


def test_clips_too_short_for_the_window_are_left_out_or_reported(folder: Path) -> None:
    data = LatentDataset(folder)
    assert {c for step in range(4) for c in data.batch(step, 4, 16)["captions"]} == {"caption 2", "caption 4"}
    with pytest.raises(UserError, match=r"no clip has the 21 frames.* the longest has 20"):
        data.batches(4, 21)


def test_missing_and_damaged_latents_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no latents"):
        LatentDataset(tmp_path / "none")
    shard = folder / "0.safetensors"
    shard.write_bytes(shard.read_bytes()[:300])
    data = LatentDataset(folder)
    with pytest.raises(UserError, match=r"0\.safetensors is missing or damaged"):
        data.batch(0, 6, 3)
    (folder / EMPTY_PROMPT).unlink()
    with pytest.raises(UserError, match="missing or damaged"):
        LatentDataset(folder)
    (folder / "index.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="is not an index of latents"):
        LatentDataset(folder)


def test_a_shard_that_is_cut_short_while_it_is_read_is_named(folder: Path) -> None:
    """Its file is mapped: to read behind its end would end the process by a signal."""
    data = LatentDataset(folder)
    for number in range(4):
        data.batch(number, 6, 3)
    for shard in folder.glob("[0-9]*.safetensors"):
        with shard.open("r+b") as file:
            file.truncate(300)
    with pytest.raises(UserError, match="changed while it was in use"):
        data.batch(0, 6, 3)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [("frame_offset", 37, "has no rows 3[789] to"), ("frame_offset", -4, "has no rows -"), ("text_row", 3, "of text")],
)
def test_rows_that_point_outside_their_shard_are_named(folder: Path, column: str, value: int, problem: str) -> None:
    index = pl.read_parquet(folder / "index.parquet").filter(pl.col("clip_id") == "c5")
    index.with_columns(pl.lit(value).cast(INDEX_SCHEMA[column]).alias(column)).write_parquet(folder / "index.parquet")
    with pytest.raises(UserError, match=problem) as error:
        LatentDataset(folder).batch(0, 1, 3)
    assert "1.safetensors" in error.value.problem


@pytest.mark.parametrize("name", ["latents", "text"])
def test_values_that_are_not_finite_are_named_by_their_clip(folder: Path, name: str) -> None:
    bad = replace(encoded(1), **{name: getattr(encoded(1), name) * float("inf")})
    write_latent_shard(folder / "0.safetensors", [encoded(0), bad, encoded(2)])
    with pytest.raises(UserError, match=f"the {name} of clip c1 .* are not finite"):
        LatentDataset(folder).batch(0, 6, 3)


def test_no_clips_fewer_than_processes_and_strange_strides_are_refused(folder: Path) -> None:
    data = LatentDataset(folder)
    data.batches(2, 4, processes=5)
    with pytest.raises(UserError, match="6 processes cannot share 5 clips of 4 frames or more"):
        data.batches(2, 4, processes=6)
    for strides in ((0, 1), (3, 2)):
        with pytest.raises(UserError, match="no range of strides"):
            data.batches(2, 4, strides)
    data.index.clear().write_parquet(folder / "index.parquet")
    with pytest.raises(UserError, match="there is no clip in") as error:
        LatentDataset(folder).batches(2, 4)
    assert "vqa_filter" in error.value.next_step


def test_a_shard_is_whole_only_with_all_its_rows(folder: Path) -> None:
    index = pl.read_parquet(folder / "index.parquet").filter(pl.col("shard") == "0.safetensors")
    shard = folder / "0.safetensors"
    assert is_whole(shard, index)
    assert not is_whole(shard, index[:2])
    shard.write_bytes(shard.read_bytes()[:-10])
    assert not is_whole(shard, index)
    assert not is_whole(folder / "2.safetensors", index)
