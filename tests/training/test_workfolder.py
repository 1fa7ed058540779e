"""Work folders by configuration, and what happens where another one's checkpoint lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.training.workfolder import OTHER_SETTINGS, config_key, open_work

OLD = {"stage1": {"optim": {"learning_rate": 0.1, "steps": 5}}, "seed": 1}
NEW = {"stage1": {"optim": {"learning_rate": 0.2, "steps": 5}}, "seed": 1}


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """The work folder of a training with the settings ``OLD`` that was stopped in its second phase."""
    work = open_work(Layout(tmp_path), "stage1", OLD)
    (work / "consistency").mkdir()
    (work / "consistency/step_00000003.pt").write_bytes(b"x")
    return work


def test_the_same_settings_find_their_folder(tmp_path: Path, unfinished: Path) -> None:
    assert open_work(Layout(tmp_path), "stage1", OLD) == unfinished


def test_other_settings_are_refused_by_name(tmp_path: Path, unfinished: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_work(Layout(tmp_path), "stage1", NEW)
    assert "stage1.optim.learning_rate: 0.1 before, 0.2 now" in caught.value.problem
    assert "steps" not in caught.value.problem
    assert "HUMMINGBIRD_OTHER_SETTINGS=continue goes on" in caught.value.next_step
    assert (unfinished / "consistency/step_00000003.pt").is_file()


def test_restart_deletes_the_other_training(tmp_path: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OTHER_SETTINGS, "restart")
    work = open_work(Layout(tmp_path), "stage1", NEW)
    assert not unfinished.exists()
    assert not list(work.rglob("*.pt"))


def test_continue_takes_the_other_training_over(
    tmp_path: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OTHER_SETTINGS, "continue")
    work = open_work(Layout(tmp_path), "stage1", NEW)
    assert not unfinished.exists()
    assert (work / "consistency/step_00000003.pt").is_file()
    assert open_work(Layout(tmp_path), "stage1", NEW) == work


def test_continue_deletes_no_training_because_a_refused_one_left_its_folder(
    tmp_path: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = Layout(tmp_path).work("stage1", config_key(NEW))
    empty.mkdir()
    monkeypatch.setenv(OTHER_SETTINGS, "continue")
    assert open_work(Layout(tmp_path), "stage1", NEW) == empty
    assert (empty / "consistency/step_00000003.pt").is_file()


def test_continue_does_not_choose_between_two_trainings(
    tmp_path: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Layout(tmp_path).work("stage1", config_key(NEW))
    begun.mkdir()
    (begun / "step_00000001.pt").write_bytes(b"x")
    monkeypatch.setenv(OTHER_SETTINGS, "continue")
    with pytest.raises(UserError, match="with these settings"):
        open_work(Layout(tmp_path), "stage1", NEW)
    assert unfinished.exists()


def test_a_folder_without_checkpoints_is_no_training(tmp_path: Path) -> None:
    open_work(Layout(tmp_path), "stage1", OLD)
    open_work(Layout(tmp_path), "stage1", NEW)


def test_the_key_names_the_settings() -> None:
    assert config_key(OLD) != config_key(NEW)
    assert config_key(OLD) == config_key(dict(reversed(OLD.items())))


def test_of_many_inputs_the_one_that_differs_is_named(tmp_path: Path) -> None:
    inputs = {f"latents/{n:05d}.safetensors": "a" * 64 for n in range(3000)}
    work = open_work(Layout(tmp_path), "stage1", {**OLD, "inputs": inputs})
    (work / "step_00000003.pt").write_bytes(b"x")
    with pytest.raises(UserError) as caught:
        open_work(Layout(tmp_path), "stage1", {**OLD, "inputs": {**inputs, "latents/00007.safetensors": "b" * 64}})
    assert "inputs.latents/00007.safetensors: a" in caught.value.problem
    assert len(caught.value.problem) < 500
