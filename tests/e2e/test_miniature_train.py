"""`hummingbird miniature train` makes every foundation model from nothing, and goes on after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird.errors import UserError
from hummingbird.miniature.train import PARTS, train_all
from hummingbird.models.checkpoints import verify_folder
from hummingbird.pipelines.loading import load_teacher
from hummingbird.runlog import SilentLog


@pytest.mark.e2e
def test_all_parts_are_made_and_load(tmp_path: Path) -> None:
    figures = train_all(tmp_path, budget=0.004, log=SilentLog())
    assert set(figures) == set(PARTS)
    assert verify_folder(tmp_path)
    pipeline = load_teacher(tmp_path)
    assert pipeline("a large plain red circle stays still on sea", num_inference_steps=2).shape == (1, 8, 32, 32, 3)
    text = (tmp_path / "PROVENANCE.md").read_text()
    for name in PARTS:
        assert f"## {name}" in text


def test_a_misspelt_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'teacher'"):
        train_all(tmp_path, only=["techer"], log=SilentLog())
