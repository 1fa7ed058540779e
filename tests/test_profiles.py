"""The profiles of the repository, and what can be done with profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird import profiles
from hummingbird.checkpoints.catalogue import catalogue
from hummingbird.errors import UserError
from hummingbird.params import Lora, Params, dump_params, load_params

NAMES = [
    "miniature",
    "t2v-0.7b-code-preset",
    "t2v-0.7b-h200",
    "t2v-0.7b-mi250x4",
    "t2v-0.7b-rx7900xtx-inference",
    "t2v-0.9b-mi250x4",
]


@pytest.fixture
def paper(project: Path) -> Params:
    return load_params(project / "profiles/t2v-0.7b-mi250x4.yaml")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one profile, ``small``, which is active."""
    (tmp_path / "profiles").mkdir()
    for file in ("profiles/small.yaml", "params.yaml"):
        (tmp_path / file).write_text(dump_params(Params(seed=3)))
    return tmp_path


def test_the_repository_has_these_profiles_and_each_says_what_it_is(project: Path) -> None:
    assert profiles.profile_names(project) == NAMES
    for name in NAMES:
        assert len(profiles.describe(profiles.find_profile(name, project))) > 20
    assert profiles.active_profile(project) == "miniature"


@pytest.mark.parametrize("name", NAMES)
def test_every_checkpoint_that_a_profile_names_is_in_the_table(project: Path, name: str) -> None:
    chosen = load_params(profiles.find_profile(name, project)).foundation
    assert (chosen.mode == "checkpoints") == (name != "miniature") == (chosen.checkpoints is not None)
    if chosen.checkpoints:
        assert set(chosen.checkpoints.names) <= set(catalogue())


def test_the_paper_preset_is_the_papers(paper: Params) -> None:
    """Section 2 and 3 of the paper: 200K steps at 1e-4, batch 16; 80K steps at 1e-5, batch 8."""
    first, second = paper.stage1.distillation, paper.stage1.consistency
    assert first.steps + second.steps == 200_000
    assert {(phase.learning_rate, phase.batch_size * phase.accumulate) for phase in (first, second)} == {(1e-4, 16)}
    reward = paper.stage2.optim
    assert (reward.steps, reward.learning_rate, reward.batch_size * reward.accumulate) == (80_000, 1e-5, 8)
    assert (paper.encode.height, paper.encode.width, paper.stage1.num_frames) == (320, 512, 16)
    assert not paper.stage1.keep_mid_block


def test_profiles_of_other_hardware_differ_in_the_size_of_pieces_only(project: Path, paper: Params) -> None:
    pieces = {"batch_size", "accumulate", "batch_frames", "large_batch", "gpus", "processes"}
    for name in ("t2v-0.7b-h200", "t2v-0.7b-rx7900xtx-inference"):
        other = load_params(profiles.find_profile(name, project))
        assert {path.rsplit(".", 1)[-1] for path, *_ in profiles.difference(paper, other)} <= pieces
        for phase, same in (
            (other.stage1.distillation, paper.stage1.distillation),
            (other.stage2.optim, paper.stage2.optim),
        ):
            assert phase.batch_size * phase.accumulate == same.batch_size * same.accumulate
    larger = load_params(profiles.find_profile("t2v-0.9b-mi250x4", project))
    assert profiles.difference(paper, larger) == [("stage1.keep_mid_block", False, True)]


def test_the_code_preset_is_the_released_scripts(project: Path, paper: Params) -> None:
    code = load_params(profiles.find_profile("t2v-0.7b-code-preset", project))
    first, reward = code.stage1.distillation, code.stage2.optim
    assert (first.learning_rate, first.batch_size * first.accumulate) == (1e-5, 96)
    assert (reward.steps, reward.learning_rate, reward.batch_size * reward.accumulate) == (400_000, 1e-4, 4)
    assert (code.stage2.num_frames, code.stage2.rewards) == (26, paper.stage2.rewards)
    assert (code.stage1.start, code.stage1.guidance, code.stage1.dynamic_rescale) == ("random", (12.0, 12.0), True)
    assert (code.stage1.consistency, code.stage1.lora, code.stage1.fps_condition) == (None, None, "clip")
    assert (code.stage2.guidance, code.stage2.fps_condition) == ((6.0, 16.0), "released")
    assert (code.stage2.lora, reward.optimizer) == (Lora(rank=64, alpha=64.0, dropout=0.1), "adamw8bit")


def test_a_profile_becomes_the_parameters(root: Path) -> None:
    other = dump_params(Params(seed=4))
    (root / "profiles/other.yaml").write_text(other)
    (root / "profiles/wrong.yaml").write_text(other.replace("seed: 4", "sede: 4"))
    before = (root / "params.yaml").read_text()
    with pytest.raises(UserError, match="did you mean 'other'"):
        profiles.use_profile("othr", root)
    with pytest.raises(UserError, match="sede"):
        profiles.use_profile("wrong", root)
    assert (root / "params.yaml").read_text() == before
    profiles.use_profile("other", root)
    assert (root / "params.yaml").read_text() == other
    (root / "params.yaml").unlink()
    profiles.use_profile("small", root)
    assert profiles.active_profile(root) == "small"


def test_without_profiles_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="profiles/ has none"):
        profiles.use_profile("small", tmp_path)


def test_a_difference_names_each_parameter_by_its_section() -> None:
    first = Params()
    second = first.model_copy(update={"encode": first.encode.model_copy(update={"height": 64})})
    assert profiles.difference(first, second) == [("encode.height", 32, 64)]
    assert profiles.difference(first, first) == []


def test_a_section_that_one_side_lacks_is_told_name_by_name(paper: Params) -> None:
    changed = dict((name, (one, other)) for name, one, other in profiles.difference(Params(), paper))
    assert changed["foundation.checkpoints.teacher"] == (None, "videocrafter2")
