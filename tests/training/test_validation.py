"""Videos while a model trains: the same ones each time, on a sheet, checked and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from hummingbird.params import Guard
from hummingbird.runlog import SilentLog
from hummingbird.training.guard import CollapseError
from hummingbird.training.validation import AT_ONCE, Validation


class Pipeline:
    """Draws a ramp whose brightness is the seed, and remembers what it was asked for."""

    config = SimpleNamespace(fps=8)

    def __init__(self, flat: bool = False) -> None:
        self.flat = flat
        self.asked: list[tuple[list[str], list[int]]] = []

    def __call__(self, prompts: list[str], seeds: list[int]) -> NDArray[np.uint8]:
        self.asked.append((prompts, seeds))
        ramp = np.zeros(32) if self.flat else np.arange(32)
        clip = np.broadcast_to(ramp[None, None, :, None], (4, 32, 32, 3))
        return np.stack([clip * 4 + seed for seed in seeds]).astype(np.uint8)


class Kept(SilentLog):
    def __init__(self) -> None:
        self.figures: dict[int | None, dict[str, float]] = {}
        self.images: list[int | None] = []
        self.videos: dict[str, tuple[tuple[int, ...], float]] = {}

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.figures.setdefault(step, {}).update(values)

    def image(self, key: str, image: Any, step: int | None = None) -> None:
        self.images.append(step)

    def video(self, name: str, frames: Any, fps: float) -> None:
        self.videos[name] = (frames.shape, fps)


def brightness(videos: Tensor, prompts: Sequence[str]) -> tuple[dict[str, float], float]:
    assert videos.shape == (len(prompts), 4, 3, 32, 32)
    return {"held_out/brightness": float(videos.mean())}, float(videos.mean())


def test_samples_go_onto_a_sheet_and_are_measured(tmp_path: Path) -> None:
    log, pipeline = Kept(), Pipeline()
    look = Validation(pipeline, ["a", "b"], 5, folder=tmp_path, log=log, guard=Guard(), offset=100)
    assert look(5) is None
    assert look(10) is None
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == ["step_000105.png", "step_000110.png"]
    assert log.images == [105, 110]
    names = [f"samples/step_000{at}/{number}" for at in (105, 110) for number in (0, 1)]
    assert log.videos == dict.fromkeys(names, ((4, 32, 32, 3), 8))
    assert log.figures[105]["samples/spread"] > 0.1
    assert pipeline.asked == [(["a", "b"], [0, 1])] * 2


def test_held_out_prompts_are_drawn_a_few_at_a_time_and_scored(tmp_path: Path) -> None:
    log, pipeline = Kept(), Pipeline()
    scored = [f"prompt {number}" for number in range(AT_ONCE + 3)]
    look = Validation(pipeline, ["a"], 5, folder=tmp_path, log=log, guard=Guard(), scorer=brightness, scored=scored)
    score = look(5)
    assert score == log.figures[5]["held_out/brightness"]
    assert [len(prompts) for prompts, _ in pipeline.asked] == [1, AT_ONCE, 3]
    assert [seed for _, seeds in pipeline.asked[1:] for seed in seeds] == list(range(AT_ONCE + 3))


def test_a_collapsed_model_is_found_and_its_sheet_is_there(tmp_path: Path) -> None:
    look = Validation(Pipeline(flat=True), ["a"], 5, folder=tmp_path, log=SilentLog(), guard=Guard())
    with pytest.raises(CollapseError, match="one flat colour"):
        look(5)
    assert list(tmp_path.glob("*.png"))
