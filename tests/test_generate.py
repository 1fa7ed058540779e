"""`hummingbird generate`, on an untrained model of the miniature's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from hummingbird import generate as module
from hummingbird.cli import app
from hummingbird.data.mp4_tags import read_facts
from hummingbird.data.video_io import decode
from hummingbird.generate import enlarge, frame_limit
from hummingbird.pipelines import choice
from hummingbird.pipelines.loading import student_pipeline
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.provenance import content_md5

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
    monkeypatch.setattr(choice, "load_pipeline", lambda layout, model: student if model == "stage2" else pipeline)
    return tmp_path


def test_a_video_of_the_size_asked_for_is_written(folder: Path) -> None:
    result = runner.invoke(
        app, ["generate", PROMPT, "--out", "x.mp4", "--model", "teacher", "--frames", "3", "--scale", "2"]
    )
    assert result.exit_code == 0, result.output
    assert "x.mp4: 3 frames, 64 x 64" in result.output
    video, _ = decode(folder / "x.mp4")
    assert video.shape == (3, 64, 64, 3)


def test_another_decoder_makes_the_pixels(folder: Path, pipeline: TextToVideoPipeline) -> None:
    from hummingbird.models.light_decoder import light_decoder_for

    asked = ["generate", PROMPT, "--model", "teacher", "--frames", "2", "--scale", "1", "--decoder"]
    light_decoder_for(pipeline.vae, (8, 16), 0, 8, True).save_pretrained(folder / "artifacts/decoder")
    for name, out in (("original", "a.mp4"), ("light", "b.mp4"), ("artifacts/decoder", "c.mp4")):
        result = runner.invoke(app, [*asked, name, "--out", out])
        assert result.exit_code == 0, result.output
    a, b, c = (decode(folder / f"{name}.mp4")[0] for name in "abc")
    assert a.shape == b.shape and not np.array_equal(a, b)
    np.testing.assert_array_equal(b, c)


def test_the_tiny_decoder_is_refused_for_the_miniatures_latents(folder: Path) -> None:
    from diffusers import AutoencoderTiny

    AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4
    ).save_pretrained(folder / "checkpoints/files/taesd")  # fmt: skip
    result = runner.invoke(app, ["generate", PROMPT, "--model", "teacher", "--decoder", "tiny"])
    assert result.exit_code == 2
    assert "takes latents of 4 channels, but those of the model have 16" in result.stderr
    assert not (folder / "video.mp4").exists()


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
        ([PROMPT, "--model", "stage2", "--negative-embedding", "x.bin"], "takes no negative embedding"),
        ([PROMPT, "--model", "stage2", "--fit-negative"], "takes no negative embedding"),
        ([PROMPT, "--negative-embedding", "x.bin"], "there is no file x.bin"),
        ([PROMPT, "--negative", "blurry", "--fit-negative"], "exclude each other"),
        (["", "--fit-negative"], "the prompt is empty"),
        ([PROMPT, "--model", "stage2", "--steps", "9"], "1 to 8 steps, not 9"),
        ([PROMPT, "--decoder", "light"], "dvc repro decoder"),
        ([PROMPT, "--decoder", "tiny"], "hummingbird checkpoints fetch taesd"),
        ([PROMPT, "--decoder", "lite"], "lite is no decoder: neither original, light, tiny nor a folder"),
        ([PROMPT, "--decoder", "lite"], "did you mean 'light'?"),
        ([PROMPT, "--decoder", "no/such"], "no/such holds no decoder"),
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


def test_a_negative_embedding_is_used_and_fitted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pipeline: TextToVideoPipeline, project: Path
) -> None:
    import torch

    from hummingbird.models.light_decoder import light_decoder_for
    from hummingbird.pipelines.negative import save_negative
    from hummingbird.training import per_prompt
    from hummingbird.training.methods.mixture import RewardMixture

    class Brightness:
        def score(self, pictures: torch.Tensor, prompts: list[str]) -> torch.Tensor:
            return pictures.flatten(1).mean(dim=1)

    given = torch.randn(1, 24, 96)
    save_negative(given, folder / "x.safetensors")
    (folder / "params.yaml").write_text((project / "profiles/miniature.yaml").read_text())
    mixture = RewardMixture(Brightness(), None, image_weight=1.0, video_weight=0.0, image_frames=2)
    monkeypatch.setattr(per_prompt, "load_rewards", lambda *_: mixture)
    starts, judged = [], []
    fit = per_prompt.fit_prompt

    def fit_from(method: Any, *rest: Any, **settings: Any) -> per_prompt.Fit:
        starts.append(method.negative.embedding.detach().clone())
        judged.append(method.rewards.vae)
        return fit(method, *rest, **{**settings, "steps": 1})

    monkeypatch.setattr(per_prompt, "fit_prompt", fit_from)
    light_decoder_for(pipeline.vae, (8, 16), 0, 8, True).save_pretrained(folder / "artifacts/decoder")
    chosen = []
    choose = module.choose_decoder
    monkeypatch.setattr(module, "choose_decoder", lambda *of: chosen.append(choose(*of)) or chosen[-1])
    words = [PROMPT, "--model", "teacher", "--frames", "2", "--negative-embedding", "x.safetensors", "--fit-negative"]
    result = runner.invoke(app, ["generate", *words, "--decoder", "light"])
    assert result.exit_code == 0, result.output
    assert torch.equal(starts[0], given)
    assert judged == [pipeline.vae] and chosen[0].vae is not pipeline.vae  # fitted with the VAE, decoded by the other
    assert chosen[0].negative_prompt_embeds is pipeline.negative_prompt_embeds
    assert "reward 0." in result.output and "in 1 steps" in result.output
    assert (folder / "video.mp4").is_file()
    assert pipeline.negative_prompt_embeds is not None
    pipeline.negative_prompt_embeds = None


def test_the_video_tells_what_it_was_made_with_and_is_the_same_again(folder: Path) -> None:
    (folder / "artifacts/stage2").mkdir(parents=True)
    (folder / "artifacts/stage2/weights").write_text("weights")
    (folder / "reports/runs").mkdir(parents=True)
    (folder / "reports/runs/stage2.json").write_text('{"run_id": "ab12"}')
    asked = ["generate", PROMPT, "--seed", "5", "--frames", "2", "--scale", "1"]
    for name in ("a.mp4", "b.mp4"):
        result = runner.invoke(app, [*asked, "--out", name])
        assert result.exit_code == 0, result.output
    assert (folder / "a.mp4").read_bytes() == (folder / "b.mp4").read_bytes()
    told = read_facts(folder / "a.mp4")
    assert told["prompt"] == PROMPT
    assert (told["model"], told["seed"], told["frames"], told["scale"]) == ("stage2", 5, 2, 1)
    assert (told["steps"], told["guidance"]) == (4, 3.5)  # the model's own, written out
    assert told["weights"] == {"artifacts/stage2": content_md5(folder / "artifacts/stage2", folder)}
    assert told["runs"] == {"artifacts/stage2": "ab12"}
    assert "negative" not in told and "lora" not in told
