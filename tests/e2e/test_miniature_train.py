"""`hummingbird miniature train` makes every foundation model from nothing, and goes on after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird.errors import UserError
from hummingbird.miniature import vae
from hummingbird.miniature.train import PARTS, train_all
from hummingbird.models.checkpoints import sha256, verify_folder
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


def test_another_seed_never_takes_up_what_this_one_left(tmp_path: Path) -> None:
    made = {}
    for seed in (1, 2, 1):
        vae.train(tmp_path / f"vae{seed}", seed=seed, budget=0.001, work=tmp_path / "work", log=SilentLog())
        made[seed] = sha256(tmp_path / f"vae{seed}/diffusion_pytorch_model.safetensors")
    assert made[1] != made[2]
    assert not list(tmp_path.glob("vae*/.work"))
