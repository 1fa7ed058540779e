"""ReNeg as a stage: samples of the embedding as it is, other guided models, and what cannot be learned."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from hummingbird.data.latent_shards import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.text import build_world_tokenizer, miniature_text_config
from hummingbird.models.unet import VideoUNet
from hummingbird.models.vae import miniature_vae
from hummingbird.params import Guard, Optim, Params, Reneg, RewardWeights, Training
from hummingbird.pipelines.loading import student_pipeline
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import SilentLog
from hummingbird.stages import reneg
from hummingbird.training.methods.mixture import RewardMixture

ANY = Guard(min_spread=0.0, max_flicker=1.0)  # untrained samples are noise
OPTIM = Optim(steps=2, batch_size=2, learning_rate=0.5, sample_every=1)


class Brightness:
    def score(self, pictures: Tensor, prompts: list[str]) -> Tensor:
        return pictures.flatten(1).mean(dim=1)


@pytest.fixture
def teacher() -> TextToVideoPipeline:
    torch.manual_seed(0)
    unet = VideoUNet(
        in_channels=16,
        out_channels=16,
        down_block_types=("CrossAttnDownBlock3D",),
        up_block_types=("CrossAttnUpBlock3D",),
        block_out_channels=(16,),
        norm_num_groups=4,
        cross_attention_dim=96,
        attention_head_dim=8,
        layers_per_block=1,
    )
    for parameter in unet.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.1)
    tokenizer = build_world_tokenizer()
    text_encoder = CLIPTextModel(miniature_text_config(tokenizer))
    return TextToVideoPipeline(
        miniature_vae(), text_encoder, tokenizer, unet, miniature_scheduler(), num_inference_steps=2, num_frames=2
    )


@pytest.fixture
def layout(tmp_path: Path, teacher: TextToVideoPipeline, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project with a teacher of a few channels, latents of random clips, and brightness for a reward."""
    found = Layout(tmp_path)
    teacher.save_pretrained(found.foundation)
    found.latents.mkdir(parents=True)
    clips = [EncodedClip(f"c{n}", torch.randn(2, 16, 4, 4), torch.randn(24, 96), 8.0, "a red circle") for n in range(3)]
    write_latent_shard(found.latents / "0.safetensors", clips).write_parquet(found.latents / "index.parquet")
    save_file({"text": torch.randn(1, 24, 96)}, found.latents / EMPTY_PROMPT)
    mixture = RewardMixture(Brightness(), None, image_weight=1.0, video_weight=0.0, image_frames=1)
    monkeypatch.setattr(reneg, "load_rewards", lambda *_: mixture)
    return found


def params(**changes: Any) -> Params:
    settings = {"optim": OPTIM, "steps": 2, "late_steps": 1, "num_frames": 2, **changes}
    return Params(reneg=Reneg(**settings), training=Training(guard=ANY))


def test_samples_are_of_the_embedding_as_it_is(layout: Layout) -> None:
    figures = reneg.run(params(), layout, SilentLog())
    assert figures["distance_from_null"] > 1
    sheets = [layout.sheets("reneg") / f"step_00000{step}.png" for step in (1, 2)]
    assert sheets[0].read_bytes() != sheets[1].read_bytes()


def test_another_guided_model_may_be_taken(layout: Layout, teacher: TextToVideoPipeline) -> None:
    with torch.no_grad():
        teacher.unet.conv_out.weight.mul_(-1)
    teacher.save_pretrained(layout.root / "other")
    found = []
    for model in ("teacher", "other"):
        reneg.run(params(model=model), layout, SilentLog())
        found.append(load_file(layout.reneg / "negative_embedding.safetensors")["negative_prompt_embeds"])
        shutil.rmtree(layout.root / ".work")
    assert found[0].shape == (1, 24, 96) and not torch.allclose(found[0], found[1])


def test_models_and_settings_that_learn_nothing_are_refused(layout: Layout, teacher: TextToVideoPipeline) -> None:
    student_pipeline(teacher, teacher.unet, 8).save_pretrained(layout.root / "student")
    nothing = RewardWeights(image_weight=0.0, video_weight=0.0)
    for changes, problem in (
        ({"model": "student"}, "student takes no negative embedding: .* no unconditional pass"),
        ({"model": "nowhere"}, "nowhere holds no pipeline"),
        ({"rewards": nothing}, "both have weight 0"),
        ({"guidance_scale": 1.0}, "no part at guidance scale 1"),
    ):
        with pytest.raises(UserError, match=problem):
            reneg.run(params(**changes), layout, SilentLog())
    assert not layout.reneg.exists()
