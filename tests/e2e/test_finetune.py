"""A style, from a folder of clips to samples: `hummingbird finetune` and `generate --lora` as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from typer.testing import CliRunner

from hummingbird.cli import app
from hummingbird.data.video_io import decode, write_mp4
from hummingbird.data.world import make_clip

PROJECT = Path(__file__).parents[2]
PROMPT = "a large plain red circle moves slowly left on sea"
CLIPS, STEPS = 8, 40

pytestmark = pytest.mark.e2e


def sepia(video: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = video.astype(float) @ np.array([0.299, 0.587, 0.114])
    return np.clip(grey[..., None] * [1.15, 0.85, 0.5] + [30, 10, 0], 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the miniature's models, its pruned teacher in the place of a student, and clips in sepia."""
    from hummingbird.models.pruning import hummingbird_plan, prune
    from hummingbird.pipelines.loading import load_teacher, student_pipeline

    folder = tmp_path_factory.mktemp("project")
    (folder / "artifacts").mkdir()
    (folder / "artifacts/foundation").symlink_to(PROJECT / "assets/miniature")
    (folder / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    teacher = load_teacher(PROJECT / "assets/miniature")
    student = prune(teacher.unet, hummingbird_plan(2, mid_block=False), guidance_dim=256)
    student_pipeline(teacher, student, 8).save_pretrained(folder / "artifacts/stage2/pipeline")
    (folder / "clips").mkdir()
    for number in range(CLIPS):
        clip = make_clip(501, number)
        write_mp4(folder / f"clips/{number}.mp4", sepia(clip.video), 8)
        (folder / f"clips/{number}.txt").write_text(clip.caption)
    (folder / "short").mkdir()
    for number in range(2):
        write_mp4(folder / f"short/{number}.mp4", make_clip(1, number, frames=3).video, 8)
        (folder / f"short/{number}.txt").write_text(PROMPT)
    return folder


def hummingbird(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("hummingbird")), *words]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def style(folder: Path) -> Path:
    done = hummingbird(
        folder, "finetune", "--data", "clips", "--steps", str(STEPS), "--set", "finetune.optim.batch_size=4"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "lora/clips.safetensors (rank 16, 40 steps)" in done.stdout
    assert "generate PROMPT --model stage2 --lora lora/clips.safetensors" in done.stdout
    return folder / "lora/clips.safetensors"


def sample(folder: Path, *words: str) -> NDArray[np.uint8]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, ["generate", PROMPT, "--out", "x.mp4", "--scale", "1", *words])
    assert done.exit_code == 0, done.output
    assert "note:" not in done.stderr
    return decode((folder / "x.mp4").read_bytes())[0]


def test_samples_move_towards_the_clips(folder: Path, style: Path) -> None:
    """By the mean colour, of the picture and of its shades: sepia has red before green before blue."""
    with safe_open(style, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["hummingbird.base"]
    assert json.loads(metadata["lora_adapter_metadata"])["unet.r"] == 16
    plain, off, worn = (sample(folder, *words) for words in ((), ("--lora", str(style), "--lora-scale", "0"),
                                                             ("--lora", str(style))))  # fmt: skip
    assert np.array_equal(plain, off)
    before, after = (np.abs(video.astype(float) - sepia(video)).mean() for video in (plain, worn))
    assert after < 0.65 * before, (before, after)
    assert not list(folder.glob(".work/finetune*/*"))
    assert len(list(folder.glob("reports/sheets/finetune/clips_*/step_000040.png"))) == 1


def test_clips_that_cannot_be_used_are_counted_by_their_reason(folder: Path) -> None:
    done = hummingbird(folder, "finetune", "--data", "short")
    assert done.returncode == 2
    assert "no clip of short can be used: 2 too_short" in done.stderr
    assert "--set NAME=VALUE" in done.stderr and "Traceback" not in done.stderr
