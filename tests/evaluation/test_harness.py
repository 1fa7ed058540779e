"""The timing harness: fair order, complete accounting, and no trace left on what it timed."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from evaluation.latency.harness import Contender, describe, speedup, time_components, time_in_turns, turns
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import SilentLog


class Sleeper(nn.Module):
    """A component that takes a known time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self) -> None:
        time.sleep(self.seconds)

    def decode(self) -> None:
        time.sleep(self.seconds)


class FakePipeline:
    """Encodes once, denoises ``steps`` times, decodes once."""

    def __init__(self, steps: int) -> None:
        self.device = torch.device("cpu")
        self.config = SimpleNamespace(num_inference_steps=steps)
        self.text_encoder, self.unet, self.vae = Sleeper(0.002), Sleeper(0.005), Sleeper(0.01)
        self.batches: list[int] = []

    def __call__(self, prompts: list[str], seeds: list[int]) -> None:
        assert len(prompts) == len(seeds)
        self.batches.append(len(prompts))
        self.text_encoder()
        for _ in range(self.config.num_inference_steps):
            self.unet()
        self.vae.decode()


def _contender(name: str, steps: int, repeats: int) -> Contender:
    return Contender(name, cast(TextToVideoPipeline, FakePipeline(steps)), repeats)


def test_runs_take_turns() -> None:
    order = [contender.name for contender in turns([_contender("slow", 1, 2), _contender("fast", 1, 6)])]
    assert order.count("slow") == 2
    assert order.count("fast") == 6
    assert order[:4].count("slow") == order[4:].count("slow") == 1  # neither half favours one of them


def test_warm_up_is_run_but_not_counted() -> None:
    contenders = [_contender("slow", 20, 2), _contender("fast", 2, 4)]
    seconds = time_in_turns(contenders, "a prompt", 3, warmup=2, log=SilentLog())
    assert {name: len(values) for name, values in seconds.items()} == {"slow": 2, "fast": 4}
    assert cast(Any, contenders[0].pipeline).batches == [3] * 4
    assert min(seconds["slow"]) > 20 * 0.005
    assert speedup(seconds, "slow", "fast")["value"] > 2


def test_components_add_up_and_are_left_as_they_were() -> None:
    pipeline = FakePipeline(steps=4)
    parts = time_components(cast(TextToVideoPipeline, pipeline), "a prompt", 1, repeats=2)
    assert {name: part["calls"] for name, part in parts.items()} == {
        "text_encoder": 1,
        "denoiser": 4,
        "vae": 1,
        "other": 0,
    }
    assert parts["denoiser"]["median_s"] >= 4 * 0.005
    assert parts["vae"]["median_s"] >= 0.01
    assert sum(part["share"] for part in parts.values()) == pytest.approx(1.0, abs=0.05)
    assert "forward" not in vars(pipeline.unet)
    assert "decode" not in vars(pipeline.vae)


def test_a_summary_of_runs() -> None:
    figures = describe([1.0, 2.0, 3.0, 4.0, 100.0], warmup=1)
    assert figures["median_s"] == 3.0
    assert figures["p95_s"] == pytest.approx(80.8)
    assert figures["n"] == 5
