"""Stages in several processes: who starts torchrun, and who follows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from hummingbird.errors import UserError
from hummingbird.ops import launch
from hummingbird.ops.runner import stage_names
from hummingbird.params import Params, Training, dump_params


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have taken this process's place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    return commands


def project(root: Path, processes: int) -> Path:
    (root / "params.yaml").write_text(dump_params(Params(training=Training(processes=processes))))
    return root


def test_a_training_stage_becomes_torchrun(tmp_path: Path, started: list[list[str]]) -> None:
    launch.start_together("stage1", ["--debug", "stage", "stage1"], project(tmp_path, 2))
    assert started[0][0] == sys.executable
    assert "--nproc-per-node=2" in started[0]
    assert started[0][-5:] == ["-m", "hummingbird", "--debug", "stage", "stage1"]


@pytest.mark.parametrize(("stage", "processes"), [("stage1", 1), ("encode", 2)])
def test_one_process_and_other_stages_run_as_they_are(
    tmp_path: Path, started: list[list[str]], stage: str, processes: int
) -> None:
    launch.start_together(stage, ["stage", stage], project(tmp_path, processes))
    assert started == []


def test_what_torchrun_started_does_not_start_it_again(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    launch.start_together("stage1", ["stage", "stage1"], project(tmp_path, 2))
    assert started == []


@pytest.mark.parametrize(("rank", "follows"), [("0", False), ("1", True)])
def test_all_but_the_first_process_follow(monkeypatch: pytest.MonkeyPatch, rank: str, follows: bool) -> None:
    assert not launch.is_follower()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    monkeypatch.setenv("RANK", rank)
    assert launch.is_follower() == follows


def test_more_processes_than_gpus_are_refused(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"training.processes is 4, but this machine has 2 GPU"):
        launch.start_together("stage1", ["stage", "stage1"], project(tmp_path, 4))
    assert started == []


def test_every_training_stage_is_a_stage() -> None:
    assert set(launch.TRAINING) <= set(stage_names())
