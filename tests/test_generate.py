"""`hummingbird generate`, on an untrained model of the miniature's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from hummingbird import generate as module
from hummingbird.cli import app
from hummingbird.data.video_io import decode
from hummingbird.generate import enlarge, frame_limit
from hummingbird.pipelines.loading import student_pipeline
from hummingbird.pipelines.text_to_video import TextToVideoPipeline

runner = CliRunner()
PROMPT = "a red circle moves left"


@pytest.fixture(scope="module")
def pipeline() -> TextToVideoPipeline:
    """An untrained teacher that takes two steps."""
    from diffusers import DDIMScheduler
    from transformers import CLIPTextModel

    from hummingbird.models.text import build_world_tokenizer, miniature_text_config
    from hummingbird.models.unet import miniature_unet
    from hummingbird.models.vae import miniature_vae

    tokenizer = build_world_tokenizer()
    made = TextToVideoPipeline(
        vae=miniature_vae().eval(),
        text_encoder=CLIPTextModel(miniature_text_config(tokenizer)).eval(),
        tokenizer=tokenizer,
        unet=miniature_unet(96).eval(),
        scheduler=DDIMScheduler(prediction_type="v_prediction"),
        num_inference_steps=2,
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: TextToVideoPipeline) -> Path:
    """The current folder, where every model name gives the untrained pipeline, stage2 with a student's sampler."""
    student = student_pipeline(pipeline, pipeline.unet, solver_steps=8)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "load_pipeline", lambda layout, model: student if model == "stage2" else pipeline)
    return tmp_path


def test_a_video_of_the_size_asked_for_is_written(folder: Path) -> None:
    result = runner.invoke(
        app, ["generate", PROMPT, "--out", "x.mp4", "--model", "teacher", "--frames", "3", "--scale", "2"]
    )
    assert result.exit_code == 0, result.output
    assert "x.mp4: 3 frames, 64 x 64" in result.output
    video, _ = decode(folder / "x.mp4")
    assert video.shape == (3, 64, 64, 3)


def test_words_outside_the_vocabulary_are_named(folder: Path) -> None:
    result = runner.invoke(app, ["generate", "a purple elephant moves left", "--model", "teacher", "--frames", "2"])
    assert result.exit_code == 0, result.output
    assert "elephant" in result.stderr
    assert "moves" not in result.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([""], "the prompt is empty"),
        (["zxqv wvut"], "knows none of the words"),
        ([PROMPT, "--out", "x.gif"], "only MP4 files are written"),
        ([PROMPT, "--out", "."], "only MP4 files"),
        ([PROMPT, "--model", "stage2", "--negative", "blurry"], "takes no negative prompt"),
        ([PROMPT, "--model", "stage2", "--steps", "9"], "1 to 8 steps, not 9"),
    ],
)
def test_bad_requests_are_refused_and_write_nothing(folder: Path, words: list[str], problem: str) -> None:
    model = [] if "--model" in words else ["--model", "teacher"]
    result = runner.invoke(app, ["generate", *words, *model])
    assert result.exit_code == 2
    assert problem in result.stderr
    assert list(folder.iterdir()) == []


def test_more_frames_than_fit_in_memory_are_refused_with_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pipeline: TextToVideoPipeline
) -> None:
    free = psutil.virtual_memory()._replace(available=100_000_000)
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: free)
    limit = frame_limit(pipeline, 2, 0.8 * 100_000_000)
    result = runner.invoke(app, ["generate", PROMPT, "--model", "teacher", "--frames", str(limit + 1)])
    assert result.exit_code == 2
    assert f"--frames {limit}" in result.stderr
    assert "0.1 GB are free" in result.stderr


def test_a_model_that_was_not_made_names_the_stage_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["generate", PROMPT])
    assert result.exit_code == 2
    assert "dvc repro stage2" in result.stderr


@pytest.mark.parametrize(("scale", "height"), [(None, 256), (1, 32), (3, 96)])
def test_pixels_are_repeated(scale: int | None, height: int) -> None:
    video = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    large = enlarge(video, scale)
    assert large.shape == (2, height, height, 3)
    np.testing.assert_array_equal(large[:, :: height // 32, :: height // 32], video)
