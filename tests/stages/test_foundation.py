"""The foundation of public checkpoints: small ones in the same form, through the stage and into the later stages."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hummingbird.data.latent_shards import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.data.measuring.shard import load_dover
from hummingbird.data.recaption.transformers_backend import Recaptioner
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.models.checkpoints import verify_folder
from hummingbird.models.text import encode_prompts, tokenize
from hummingbird.params import Optim, Params, Reneg, RewardWeights, Stage1, Stage2
from hummingbird.pipelines.loading import load_pipeline
from hummingbird.runlog import SilentLog
from hummingbird.stages import foundation, reneg, stage1, stage2
from hummingbird.training.rewards import load_rewards

PROMPT = "a large plain red circle moves slowly left on sea"
OURS = Layout().foundation


@pytest.fixture(scope="module")
def _converted(full_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished foundation, to read from."""
    project = tmp_path_factory.mktemp("converted") / "project"
    shutil.copytree(full_store.project, project)
    foundation.run(full_store.params(), Layout(project), SilentLog(), full_store.networks)
    return project


@pytest.fixture
def converted(full_store: Any, _converted: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The small checkpoints; the current folder is the project with the foundation that was made of them."""
    monkeypatch.chdir(_converted)
    return full_store


def saved(folder: Path) -> dict[str, torch.Tensor]:
    [file] = folder.glob("*.safetensors")
    return load_file(file)


def test_every_tensor_comes_out_bit_for_bit_and_in_its_precision(converted: Any) -> None:
    for name, expected in converted.expected.items():
        if name == "student":
            continue
        found = saved(OURS / name)
        assert found.keys() == expected.keys(), name
        for key, tensor in expected.items():
            assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor), f"{name}: {key}"
    kept = {name: {str(it.dtype) for it in saved(OURS / name).values()} for name in ("unet", "vae", "video_reward")}
    assert kept == {"unet": {"torch.float16"}, "vae": {"torch.float32"}, "video_reward": {"torch.bfloat16"}}


def test_what_was_made_is_whole_and_says_of_what(converted: Any) -> None:
    sizes = verify_folder(OURS)
    assert {name.split("/")[0] for name in sizes} == {
        *("unet", "vae", "text_encoder", "tokenizer", "scheduler", "dover", "recaptioner", "image_reward"),
        *("image_reward_eval", "video_reward", "video_reward_eval", "provenance", "model_index.json"),
    }
    assert not Layout().work("foundation", "checkpoints").exists()
    made = json.loads((OURS / "provenance/video_reward.json").read_text())
    assert [it["checkpoint"] for it in made["made_of"]] == ["internvideo2-1b", "bert-uncased"]
    [file] = made["made_of"][0]["files"]
    assert file["path"] == "InternVideo2-stage2_1b-224p-f4.pt" and len(file["sha256"]) == 64
    assert "not checked" in made["made_of"][0]["licence"]


def test_the_schedule_and_the_defaults_are_videocrafter2s(converted: Any) -> None:
    teacher = load_pipeline(Layout(), "teacher")
    schedule = json.loads((OURS / "scheduler/scheduler_config.json").read_text())
    expected = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    expected |= {"prediction_type": "epsilon", "num_train_timesteps": 1000, "set_alpha_to_one": False}
    expected |= {"clip_sample": False, "rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
    assert {name: schedule[name] for name in expected} == expected
    teacher.scheduler.set_timesteps(50)
    assert teacher.scheduler.timesteps.tolist() == list(range(981, 0, -20))
    alphas = teacher.scheduler.alphas_cumprod
    assert abs(float(alphas[999]) - 0.004660098513077238) < 1e-6
    assert abs(float(alphas[500]) - 0.2763326838229746) < 1e-6
    assert tuple(teacher.config.sample_size) == (320, 512)
    assert (teacher.config.guidance_scale, teacher.config.num_frames, teacher.config.fps) == (12.0, 16, 28)


def test_the_text_is_padded_by_zeros_and_read_without_the_last_layer(converted: Any) -> None:
    teacher = load_pipeline(Layout(), "teacher")
    ids = tokenize(teacher.tokenizer, [PROMPT])
    assert ids.shape == (1, 24)  # the small tower's length; the published one has 77
    words = len(teacher.tokenizer(PROMPT).input_ids)
    assert ids[0, words:].tolist() == [0] * (24 - words)
    assert teacher.text_encoder.config.num_hidden_layers == 2  # of 3
    assert encode_prompts(teacher.text_encoder, teacher.tokenizer, [PROMPT]).shape == (1, 24, 32)


def test_the_teacher_makes_finite_videos(converted: Any) -> None:
    teacher = load_pipeline(Layout(), "teacher")
    latents = teacher([PROMPT], seeds=[1], num_inference_steps=2, num_frames=2, output_type="latent")
    assert latents.shape == (1, 4, 2, 40, 64) and latents.isfinite().all()
    video = teacher([PROMPT], seeds=[1], num_inference_steps=1, num_frames=1)
    assert video.shape == (1, 1, 320, 512, 3)


def test_the_rewards_and_the_quality_assessor_score(converted: Any) -> None:
    from hummingbird.models.rewards.loading import load_reward

    rewards = load_rewards(Layout().foundation, RewardWeights(image_frames=2), num_frames=8)
    clips = torch.rand(2, 8, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    for video in (rewards.video, load_reward(OURS / "video_reward_eval", "video")):
        assert video.score(clips, ["a red ring", "a ring"]).isfinite().all()
    for image in (rewards.image, load_reward(OURS / "image_reward_eval", "image")):
        assert image.score(clips[:, 0], [PROMPT, "a circle"]).isfinite().all()
    quality = load_dover(OURS / "dover").score([np.zeros((8, 48, 48, 3), np.uint8)])
    assert all(part.isfinite().all() for part in quality)


def test_the_recaptioner_answers(converted: Any) -> None:
    model = Recaptioner.from_pretrained(OURS / "recaptioner")
    assert len(model.answer([PROMPT], max_new_tokens=3)) == 1


def test_every_training_stage_starts_from_it(converted: Any) -> None:
    """One step of each phase, on random latents of 64 pixels."""
    layout = Layout()
    clips = [
        EncodedClip(f"clip{n}", torch.randn(4, 4, 8, 8).half(), torch.randn(24, 32).half(), 8.0, PROMPT)
        for n in range(2)
    ]
    layout.latents.mkdir(parents=True)
    write_latent_shard(layout.latents / "00000.safetensors", clips).write_parquet(layout.latents / "index.parquet")
    save_file({"text": torch.randn(1, 24, 32).half()}, layout.latents / EMPTY_PROMPT)
    step = Optim(steps=1, batch_size=1, learning_rate=1e-4, lr_schedule="constant")
    params = Params(
        stage1=Stage1(distillation=step, consistency=step, num_frames=2),
        stage2=Stage2(
            optim=step, rewards=RewardWeights(image_frames=1), reward_batch=1, num_frames=4, validation_prompts=0
        ),
        reneg=Reneg(optim=step, rewards=RewardWeights(image_frames=1), steps=2, late_steps=1, num_frames=4),
    )
    for stage in (stage1, stage2, reneg):
        figures = stage.run(params, layout, SilentLog())
        assert all(math.isfinite(value) for value in figures.values()), stage.__name__
    student = load_pipeline(layout, "stage2")
    assert tuple(student.config.sample_size) == (320, 512) and student.config.num_frames == 16
    latents = student([PROMPT], num_frames=1, num_inference_steps=1, output_type="latent")
    assert latents.isfinite().all()


def test_a_run_that_was_killed_goes_on_after_the_last_network(world: Any) -> None:
    class Killed(SilentLog):
        def progress(self, items: Any, description: str, total: int | None = None) -> Any:
            for number, item in enumerate(items):
                if description == "converting checkpoints" and number == 3:
                    raise KeyboardInterrupt
                yield item

    work = Layout().work("foundation", "checkpoints")
    with pytest.raises(KeyboardInterrupt):
        foundation.run(world.params(), Layout(), Killed(), world.networks)
    made = {path.parent.name.split("-")[0]: path.stat().st_ino for path in work.glob("*/*.safetensors")}
    assert made.keys() == {"unet", "vae", "text_encoder"} and not OURS.exists()
    figures = foundation.run(world.params(), Layout(), SilentLog(), world.networks)
    again = {name: next((OURS / name).glob("*.safetensors")).stat().st_ino for name in made}
    assert again == made
    assert figures["files"] == len(verify_folder(OURS))


def test_converting_twice_gives_the_same_files(converted: Any) -> None:
    first = (OURS / "manifest.json").read_text()
    foundation.run(converted.params(), Layout(), SilentLog(), converted.networks)
    assert (OURS / "manifest.json").read_text() == first


def test_parts_can_be_played_by_other_checkpoints_of_their_kind_only(world: Any) -> None:
    with pytest.raises(UserError, match="checkpoint 'dover' holds no image_reward") as caught:
        foundation.run(world.params(image_reward="dover"), Layout(), SilentLog(), world.networks)
    assert "hpsv2.1, pickscore" in caught.value.next_step
    with pytest.raises(UserError, match=r"checkpoint 'hummingbird-0\.7b' holds no vae"):
        foundation.run(world.params(teacher="hummingbird-0.7b"), Layout(), SilentLog(), world.networks)
    swapped = {"video_reward": "viclip-l", "video_reward_eval": "internvideo2-1b"}
    foundation.run(world.params(**swapped), Layout(), SilentLog(), world.networks)
    assert saved(OURS / "video_reward").keys() == world.expected["video_reward_eval"].keys()
