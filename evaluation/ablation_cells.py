"""What is varied in the ablations: a cell is one training that differs from the default run in a few parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hummingbird.params import Params, with_overrides


@dataclass(frozen=True)
class Cell:
    """One training and the model it gives.

    Args:
        kind: the stage that is run, or how the teacher's negative embedding is had.
        base: the cell whose student stage 2 starts from, or whose embedding is fitted further.
    """

    name: str
    kind: Literal["stage1", "stage2", "reneg", "empty", "handwritten", "per_sample"]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None


def _only(phase: str, other: str, params: Params) -> dict[str, Any]:
    """One phase with the steps of both."""
    phases = (params.stage1.distillation, params.stage1.consistency)
    return {f"stage1.{phase}.steps": sum(optim.steps for optim in phases if optim), f"stage1.{other}": None}


def cells(params: Params) -> dict[str, Cell]:
    """All cells by name, each after those it is based on."""
    every = [
        Cell("stage1", "stage1"),
        Cell("random_start", "stage1", {"stage1.start": "random"}),
        Cell("only_1a", "stage1", _only("distillation", "consistency", params)),
        Cell("only_1b", "stage1", _only("consistency", "distillation", params)),
        Cell("stage2", "stage2", base="stage1"),
        Cell("anchor_stage1", "stage2", {"stage2.anchor": "stage1"}, base="stage1"),
        Cell("anchor_none", "stage2", {"stage2.anchor": "none"}, base="stage1"),
        Cell("image_only", "stage2", {"stage2.rewards.video_weight": 0.0}, base="stage1"),
        Cell("video_only", "stage2", {"stage2.rewards.image_weight": 0.0}, base="stage1"),
        Cell("empty", "empty"),
        Cell("handwritten", "handwritten"),
        Cell("reneg", "reneg"),
        Cell("per_sample", "per_sample", base="reneg"),
    ]
    return {cell.name: cell for cell in every}


#: Title of a table -> its rows: (what a reader sees, cell).
TABLES: dict[str, list[tuple[str, str]]] = {
    "The student's first weights": [("the teacher's, by the key map", "stage1"), ("random", "random_start")],
    "Phases of stage 1, with equal steps in all": [
        ("1a only: regression on the guided teacher", "only_1a"),
        ("1b only: consistency distillation", "only_1b"),
        ("both", "stage1"),
    ],
    "The anchor of stage 2": [
        ("(stage 1 alone)", "stage1"),
        ("none", "anchor_none"),
        ("distance to the frozen stage 1", "anchor_stage1"),
        ("consistency loss", "stage2"),
    ],
    "The rewards of stage 2": [
        ("(stage 1 alone)", "stage1"),
        ("image only", "image_only"),
        ("video only", "video_only"),
        ("both", "stage2"),
    ],
    "The teacher's negative embedding": [
        ("the empty prompt's", "empty"),
        ("a hand-written prompt's", "handwritten"),
        ("ReNeg, one for all prompts", "reneg"),
        ("ReNeg, fitted further to each prompt", "per_sample"),
    ],
}


def scaled(params: Params, scale: float) -> Params:
    """``params`` with all numbers of training steps multiplied by ``scale``, and without samples on the way. Stage 2 is
    validated at the same shares of its course, because it keeps its best checkpoint."""
    phases = {
        "stage1.distillation": params.stage1.distillation,
        "stage1.consistency": params.stage1.consistency,
        "stage2.optim": params.stage2.optim,
        "reneg.optim": params.reneg.optim,
    }
    overrides: dict[str, Any] = {}
    for name, optim in phases.items():
        if optim is None:
            continue
        overrides[f"{name}.steps"] = max(1, round(optim.steps * scale))
        overrides[f"{name}.warmup_steps"] = round(optim.warmup_steps * scale)
        overrides[f"{name}.sample_every"] = 0
    if params.stage2.optim.sample_every:
        overrides["stage2.optim.sample_every"] = max(1, round(params.stage2.optim.sample_every * scale))
    return with_overrides(params, overrides)
