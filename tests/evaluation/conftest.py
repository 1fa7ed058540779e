"""Judges as shipped, and a project whose models are untrained: enough to run the stages, not to please anyone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from evaluation.vbench.judges import Judges, load_judges
from hummingbird.layout import Layout
from hummingbird.miniature.dover import CONFIG
from hummingbird.miniature.rewards import SIZES, build
from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.dover import Dover
from hummingbird.models.light_decoder import light_decoder_for
from hummingbird.models.probe import Probe
from hummingbird.models.pruning import hummingbird_plan, prune
from hummingbird.models.text import build_world_tokenizer, miniature_text_config
from hummingbird.models.unet import VideoUNet, miniature_unet
from hummingbird.pipelines.loading import NEGATIVE_EMBEDDING, load_teacher, student_pipeline

ASSETS = Path(__file__).parents[2] / "assets" / "miniature"


@pytest.fixture(scope="session")
def judges() -> Judges:
    """The trained judges that are shipped with the project."""
    return load_judges(ASSETS)


@pytest.fixture(scope="session")
def untrained_project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Every model of the chain with random weights, smaller than the miniature's."""
    torch.manual_seed(0)
    layout = Layout(tmp_path_factory.mktemp("project"))
    _save_foundation(layout.foundation)
    teacher = load_teacher(layout.foundation)
    student = student_pipeline(teacher, prune(teacher.unet, hummingbird_plan(2, mid_block=False)))
    student.unet.save_pretrained(layout.stage1 / "pruned")
    student.save_pretrained(layout.stage1 / "pipeline")
    student.save_pretrained(layout.stage2 / "pipeline")
    layout.reneg.mkdir(parents=True)
    negative = teacher.encode(["blurry noisy"])
    save_file({"negative_prompt_embeds": negative.contiguous()}, layout.reneg / NEGATIVE_EMBEDDING)
    light_decoder_for(teacher.vae, (8, 8, 8, 8), 0, 8, True).save_pretrained(layout.decoder)
    return layout


def _save_foundation(folder: Path) -> None:
    tokenizer = build_world_tokenizer()
    text_config: CLIPTextConfig = miniature_text_config(tokenizer)
    unet_config = dict(miniature_unet(text_config.hidden_size).config) | {"block_out_channels": (16, 16)}
    tokenizer.save_pretrained(folder / "tokenizer")
    CLIPTextModel(text_config).save_pretrained(folder / "text_encoder")
    VideoUNet.from_config(unet_config).save_pretrained(folder / "unet")
    miniature_scheduler().save_pretrained(folder / "scheduler")
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=16,
        norm_num_groups=8,
        sample_size=32,
        scaling_factor=1.0,
    ).save_pretrained(folder / "vae")
    Probe().save_pretrained(folder / "probe")
    Dover(**CONFIG).save_pretrained(folder / "dover")
    build("image", SIZES["image", True], tokenizer).save_pretrained(folder / "image_reward_eval")
    build("video", SIZES["video", True], tokenizer).save_pretrained(folder / "video_reward_eval")
