"""Checkpoints on disk: atomic, pruned, and loud when one is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hummingbird.errors import UserError
from hummingbird.training import checkpoint
from hummingbird.training.checkpoint import Checkpoint


def at(step: int) -> Checkpoint:
    return Checkpoint(step, {"x": torch.ones(2)}, [])


def steps(work: Path) -> list[int]:
    return [found.step for found in checkpoint.find(work)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, at(4))
    (tmp_path / ".step_00000005.pt.part").symlink_to("/dev/full")  # what is written there meets a full disk
    with pytest.raises(UserError, match="No space left"):
        checkpoint.save(tmp_path, at(5))
    kept = checkpoint.load(tmp_path)
    assert kept is not None
    assert kept.step == 4
    assert len(list(tmp_path.iterdir())) == 1


def test_the_newest_few_stay_and_the_newest_validated(tmp_path: Path) -> None:
    for step in range(1, 10):
        checkpoint.save(tmp_path, at(step), validated=step in (2, 4), keep=2)
    assert steps(tmp_path) == [4, 8, 9]


def test_what_came_after_the_last_good_samples_is_dropped(tmp_path: Path) -> None:
    for step in range(1, 8):
        checkpoint.save(tmp_path, at(step), validated=step == 4, keep=3)
    checkpoint.drop_unvalidated(tmp_path)
    assert steps(tmp_path) == [4]


def test_nothing_is_dropped_where_no_samples_were_drawn(tmp_path: Path) -> None:
    for step in range(1, 4):
        checkpoint.save(tmp_path, at(step), keep=3)
    checkpoint.drop_unvalidated(tmp_path)
    assert steps(tmp_path) == [1, 2, 3]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "step_00000007.pt").write_bytes(b"half a checkp")
    with pytest.raises(UserError, match=r"step_00000007\.pt cannot be read"):
        checkpoint.load(tmp_path)


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "nowhere") is None
