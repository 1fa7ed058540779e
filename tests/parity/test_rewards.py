"""The reward models against what the original networks gave.

``golden/`` holds small copies: of ``viclip_small`` the first clip without its gradient, of ``reward_preprocess`` one
size of frames; ``internvideo2_small`` is too large. The complete files are read where they are.
"""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hummingbird.parity.backends import exact
from hummingbird.parity.golden import Case, Golden, Kind, Setup
from hummingbird.parity.rewards import KINDS, PREPARATION

COPIES = Path(__file__).parent / "golden"
NAMES = ["open_clip_small", "viclip_small", "internvideo2_small", "internvideo2_text_small", "reward_preprocess"]
COPIED = [name for name in NAMES if (COPIES / f"{name}.json").is_file()]


@pytest.fixture
def shared(project: Path) -> Path:
    return Path(os.environ.get("HUMMINGBIRD_PARITY", project.parent / "shared/parity"))


def kind_of(golden: Golden) -> Kind:
    [kind] = [kind for kind in (*KINDS, *PREPARATION) if kind.matches(golden)]
    return kind


def run(golden: Golden, setup: Setup | None = None) -> dict[str, Case]:
    return {case.name: case for case in kind_of(golden).cases(golden, setup or Setup())}


def missed(golden: Golden) -> set[str]:
    return {name for name, case in run(golden).items() if not case.passed}


def test_four_of_the_five_kinds_have_a_copy_here() -> None:
    assert set(NAMES) - set(COPIED) == {"internvideo2_small"}


@pytest.mark.parametrize("name", COPIED)
def test_copies_agree(name: str) -> None:
    golden = Golden.load(COPIES / f"{name}.json")
    assert not missed(golden)
    assert len(run(golden)) >= len(golden.under("out/"))  # every output of the original was compared


@pytest.mark.parametrize("name", NAMES)
def test_complete_files_agree(name: str, shared: Path) -> None:
    if not (shared / f"{name}.json").is_file():
        pytest.skip(f"no {name} in {shared} (HUMMINGBIRD_PARITY selects another folder)")
    assert not missed(Golden.load(shared / f"{name}.json"))


def test_other_files_are_not_taken_for_rewards(shared: Path) -> None:
    assert not any(kind.matches(Golden("x", {"target": 1, "cases": {}}, {})) for kind in (*KINDS, *PREPARATION))
    others = [path for path in shared.glob("*.json") if path.stem not in NAMES]
    if not others:
        pytest.skip(f"no golden files in {shared}")
    for path in others:
        assert not any(kind.matches(Golden.load(path)) for kind in (*KINDS, *PREPARATION)), path


@pytest.mark.parametrize("attention", ["plain", "fused", "math"])
def test_each_backend_agrees(attention: str) -> None:
    for name in ("open_clip_small", "viclip_small"):
        setup = Setup(attention=attention)
        with exact(setup):
            cases = run(Golden.load(COPIES / f"{name}.json"), setup)
        assert all(case.passed for case in cases.values()), attention


def test_a_wrong_activation_is_a_miss() -> None:
    golden = Golden.load(COPIES / "open_clip_small.json")
    config = copy.deepcopy(golden.config)
    config["config"]["quick_gelu"] = True
    assert {"image_features", "text_features", "hps_score"} <= missed(replace(golden, config=config))


def test_a_wrong_weight_is_a_miss() -> None:
    golden = Golden.load(COPIES / "viclip_small.json")
    name = "weights/vision_encoder.temporal_positional_embedding"
    assert missed(replace(golden, tensors=golden.tensors | {name: golden.tensors[name].flip(1)})) >= {"cosine"}


def test_an_output_that_is_not_computed_is_a_miss() -> None:
    golden = Golden.load(COPIES / "internvideo2_text_small.json")
    more = golden.tensors | {"out/another": torch.zeros(1)}
    assert missed(replace(golden, tensors=more)) == {"another (not computed)"}
