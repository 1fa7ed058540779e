"""Reading ahead changes nothing but the time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from hummingbird.data.latent_shards import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.data.latents import LatentDataset
from hummingbird.data.prefetch import prefetched
from hummingbird.errors import UserError
from hummingbird.params import Optim, Training
from hummingbird.runlog import SilentLog
from hummingbird.training.trainer import Trainer

SHARDS = 4


def write_latents(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = []
    for shard in range(SHARDS):
        clips = [
            EncodedClip(f"c{shard}{n}", torch.randn(6, 2, 2, 2, generator=generator), torch.zeros(2, 3), 8.0, f"{n}")
            for n in range(3)
        ]
        parts.append(write_latent_shard(folder / f"{shard}.safetensors", clips))
    pl.concat(parts).write_parquet(folder / "index.parquet")
    save_file({"text": torch.zeros(1, 2, 3)}, folder / EMPTY_PROMPT)


@pytest.fixture
def batches(tmp_path: Path) -> Callable[[int], dict[str, Any]]:
    write_latents(tmp_path)
    return LatentDataset(tmp_path).batches(3, 4, (1, 1), seed=5)


def threads() -> int:
    return sum(thread.name.startswith("prefetch") for thread in threading.enumerate())


@pytest.mark.parametrize("ahead", [0, 1, 4, 100])
def test_the_batches_are_the_same_at_any_depth(batches: Callable[[int], dict[str, Any]], ahead: int) -> None:
    with prefetched(batches, range(2, 14), ahead) as got:
        read = list(got)
    assert [number for number, _ in read] == list(range(2, 14))
    assert all(torch.equal(batch["latents"], batches(number)["latents"]) for number, batch in read)
    assert threads() == 0


def test_processes_that_share_the_parts_read_what_one_would(tmp_path: Path) -> None:
    write_latents(tmp_path)
    alone = LatentDataset(tmp_path).batches(3, 4, (1, 1), seed=5)
    for world in (2, 4):
        for rank in range(world):
            own = LatentDataset(tmp_path).batches(3, 4, (1, 1), seed=5, processes=world)
            with prefetched(own, range(rank, 12, world), 2) as got:
                for number, batch in got:
                    assert torch.equal(batch["latents"], alone(number)["latents"])
                    assert batch["captions"] == alone(number)["captions"]


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_an_error_comes_with_its_own_batch(ahead: int) -> None:
    def data(number: int) -> int:
        if number == 3:
            raise UserError("broken", "mend it")
        return number

    seen = []
    with pytest.raises(UserError, match="broken"), prefetched(data, range(9), ahead) as got:
        for number, _ in got:
            seen.append(number)
    assert seen == [0, 1, 2]
    assert threads() == 0


def test_no_more_than_asked_for_is_read_ahead_and_the_thread_ends_with_the_block() -> None:
    read: list[int] = []
    with prefetched(lambda number: read.append(number) or number, range(1000), 3) as got:
        for number, _ in got:
            assert len(read) <= number + 1 + 3
            if number == 5:
                break
    assert len(read) <= 9
    assert threads() == 0


class Mean:
    """Learns the mean of the latents, and remembers for which steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.net = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(self.net.weight)
        torch.nn.init.zeros_(self.net.bias)

    @property
    def trainable(self) -> torch.nn.Module:
        return self.net

    def loss(self, batch: dict[str, Any], step: int) -> tuple[torch.Tensor, dict[str, float]]:
        self.steps.append(step)
        return (self.net(batch["latents"].flatten()[:, None]) - 1).square().mean(), {}


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_training_stopped_by_a_lost_shard_goes_on_once_it_is_there_again(tmp_path: Path, damage: str) -> None:
    def train(method: Mean, work: Path) -> list[dict[str, float]]:
        optim = Optim(steps=8, batch_size=3, learning_rate=1e-2)
        training = Training(checkpoint_every_s=1e-9)
        batches = LatentDataset(tmp_path / "latents").batches(3, 4, (1, 1), seed=5)
        return Trainer(method, batches, optim, work=work, seed=1, log=SilentLog(), training=training).fit()

    (tmp_path / "latents").mkdir()
    write_latents(tmp_path / "latents")
    whole, stopped, resumed = Mean(), Mean(), Mean()
    series = train(whole, tmp_path / "whole")
    shard = tmp_path / "latents/2.safetensors"
    data = shard.read_bytes()
    shard.unlink() if damage == "missing" else shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"2\.safetensors is missing or damaged") as error:
        train(stopped, tmp_path / "work")
    assert "dvc repro encode" in error.value.next_step
    assert list((tmp_path / "work").rglob("step_*"))
    shard.write_bytes(data)
    assert train(resumed, tmp_path / "work") == series
    assert resumed.steps == list(range(stopped.steps[-1] + 1, 8))
    assert torch.equal(whole.net.weight, resumed.net.weight)
