"""`hummingbird checkpoints convert`, and a video from what it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LCMScheduler
from safetensors.torch import load_file
from typer.testing import CliRunner

from hummingbird import generate
from hummingbird.checkpoints.store import Store
from hummingbird.cli import app
from hummingbird.data.video_io import decode
from hummingbird.errors import UserError
from hummingbird.models.convert import networks
from hummingbird.pipelines.loading import load_folder
from hummingbird.pipelines.public import write_model
from hummingbird.runlog import SilentLog

PROMPT = "a large plain red circle moves slowly left on sea"
runner = CliRunner()


@pytest.fixture
def student(world: Any) -> Path:
    folder = Path("models/student")
    write_model("hummingbird-0.7b", Store(), folder, SilentLog(), world.networks)
    return folder


def test_the_published_student_becomes_a_pipeline(world: Any, student: Path) -> None:
    found = load_file(student / "unet/diffusion_pytorch_model.safetensors")
    assert found.keys() == world.expected["student"].keys()
    assert all(torch.equal(found[name], it) for name, it in world.expected["student"].items())
    pipeline = load_folder(student)
    assert isinstance(pipeline.scheduler, LCMScheduler)
    assert pipeline.unet.config.time_cond_proj_dim == 8 and not pipeline.unet.config.has_mid_block
    assert (pipeline.config.num_inference_steps, pipeline.config.guidance_scale) == (4, 8.5)
    made = json.loads((student / "provenance/unet.json").read_text())
    assert made["made_of"][0]["licence"].startswith("RAIL-MS")
    assert not list(student.parent.glob(".*"))


def test_a_video_is_generated_from_the_folder(student: Path) -> None:
    words = ["generate", PROMPT, "--model", str(student), "--frames", "1", "--steps", "1", "--out", "x.mp4"]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert decode(Path("x.mp4"))[0].shape == (1, 320, 512, 3)
    refused = runner.invoke(app, ["generate", PROMPT, "--model", str(student), "--negative", "blurry"])
    assert refused.exit_code == 2 and "takes no negative prompt" in refused.stderr


def test_the_teacher_alone_takes_a_negative_prompt(world: Any) -> None:
    write_model("videocrafter2", Store(), Path("teacher-alone"), SilentLog(), world.networks)
    request = generate.Request(PROMPT, Path("x.mp4"), "teacher-alone", steps=1, frames=1, negative="blurry")
    assert generate.generate(request, generate.Layout()).shape == (1, 320, 512, 3)


def test_what_is_no_pipeline_is_refused(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no pipeline can be made of checkpoint 'hummingbird-07b'") as caught:
        write_model("hummingbird-07b", Store(), Path("out"), SilentLog(), world.networks)
    assert caught.value.next_step == "did you mean 'hummingbird-0.7b'?"
    for model in ("weights", "no/such/folder"):
        result = runner.invoke(app, ["generate", PROMPT, "--model", model])
        assert result.exit_code == 2 and f"{model} holds no pipeline" in result.stderr
    result = runner.invoke(app, ["checkpoints", "convert", "hummingbird-0.7b", "--out", "out"])
    assert result.exit_code == 2 and "unet from checkpoint hummingbird-0.7b" in result.stderr  # not of the full size
    assert not Path("out").exists()
    assert networks.find_network("hummingbird-0.7b", "unet")
