"""Networks of three sizes with random weights, clips of the world to run them on, and a whole project of the smallest.

Whether a step is fast, computes what it did, or is found again after a kill does not depend on what networks know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from hummingbird.data import world
from hummingbird.data.latent_shards import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.data.latents import LatentDataset
from hummingbird.files import replacing
from hummingbird.layout import Layout
from hummingbird.miniature import rewards
from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.noise import videocrafter_scheduler
from hummingbird.models.pruning import hummingbird_plan, prune
from hummingbird.models.text import build_world_tokenizer, encode_prompts, miniature_text_config
from hummingbird.models.unet import VideoUNet, miniature_unet
from hummingbird.models.vae import encode_frames, miniature_vae, pixels_from_video
from hummingbird.params import Params, with_overrides
from hummingbird.pipelines.loading import load_teacher, student_pipeline

FPS = 8
SOLVER_STEPS = 8


@dataclass(frozen=True)
class Size:
    """What one training step sees: ``batch`` clips of ``frames`` square pictures, ``pixels`` wide."""

    frames: int
    pixels: int
    batch: int


@dataclass
class Networks:
    """A teacher with its VAE and text encoder, all frozen, and the student pruned from it."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    teacher: VideoUNet
    student: VideoUNet
    scheduler: DDIMScheduler


@dataclass(frozen=True)
class Clip:
    """Frames [T, H, W, 3] uint8 with a caption that no other clip has."""

    video: NDArray[np.uint8]
    caption: str


SIZES = {"tiny": Size(8, 32, 2), "miniature": Size(8, 32, 16), "mid": Size(16, 128, 1)}


def build(name: str, seed: int) -> Networks:
    """The networks of a size, the same for the same seed."""
    torch.manual_seed(seed)
    makers: dict[str, Callable[[], Networks]] = {"tiny": _tiny, "miniature": _miniature, "mid": _mid}
    return makers[name]()


def _tiny() -> Networks:
    """The miniature's structure at the least width: for tests."""
    tokenizer = build_world_tokenizer()
    config = miniature_text_config(tokenizer)
    wide = miniature_unet(config.hidden_size)
    teacher = VideoUNet.from_config(dict(wide.config) | {"block_out_channels": (16, 16)})
    return _networks(_vae((8, 8, 8, 8), 1, 16), CLIPTextModel(config), tokenizer, teacher, miniature_scheduler())


def _miniature() -> Networks:
    tokenizer = build_world_tokenizer()
    config = miniature_text_config(tokenizer)
    teacher = miniature_unet(config.hidden_size)
    return _networks(miniature_vae(), CLIPTextModel(config), tokenizer, teacher, miniature_scheduler())


def _mid() -> Networks:
    """All networks of the paper at a quarter of their width and at full depth, so that none is favoured."""
    tokenizer = build_world_tokenizer(max_length=77)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=23,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    teacher = VideoUNet(
        block_out_channels=(80, 160, 320, 320), norm_num_groups=16, cross_attention_dim=256, attention_head_dim=16
    )
    vae = _vae((32, 64, 128, 128), 2, 4)
    return _networks(vae, CLIPTextModel(text), tokenizer, teacher, videocrafter_scheduler())


def _vae(channels: tuple[int, ...], layers: int, latents: int) -> AutoencoderKL:
    """Stable Diffusion's autoencoder at other widths; f8 with four levels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=layers,
        latent_channels=latents,
        norm_num_groups=8,
        scaling_factor=1.0,
    )


def _networks(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    teacher: VideoUNet,
    scheduler: DDIMScheduler,
) -> Networks:
    for network in (vae, text_encoder, teacher):
        network.requires_grad_(False).eval()
    levels = len(teacher.config.block_out_channels)
    student = prune(teacher, hummingbird_plan(levels, mid_block=False)).requires_grad_(True)
    return Networks(vae, text_encoder, tokenizer, teacher, student, scheduler)


def draw_clips(size: Size, count: int, seed: int) -> list[Clip]:
    """``count`` clips of the world, of ``size``."""
    found: dict[str, Clip] = {}
    rng = np.random.default_rng(seed)
    while len(found) < count:
        scene = world.sample_scene(rng)
        caption = world.caption(scene)
        if caption not in found:
            found[caption] = Clip(world.render(scene, rng, frames=size.frames, size=size.pixels), caption)
    return list(found.values())


@torch.no_grad()
def cache_latents(folder: Path, networks: Networks, clips: list[Clip]) -> LatentDataset:
    """Encode ``clips`` into a data set, as the stage ``encode`` does."""
    encoded = [
        EncodedClip(
            str(number),
            encode_frames(networks.vae, pixels_from_video(torch.from_numpy(clip.video))),
            encode_prompts(networks.text_encoder, networks.tokenizer, [clip.caption])[0],
            FPS,
            clip.caption,
        )
        for number, clip in enumerate(clips)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_latent_shard(folder / "00000.safetensors", encoded).write_parquet(folder / "index.parquet")
    empty = encode_prompts(networks.text_encoder, networks.tokenizer, [""])
    with replacing(folder / EMPTY_PROMPT) as part:
        save_file({"text": empty.half().contiguous()}, part)
    return LatentDataset(folder)


def save_project(root: Path, *, clips: int = 12, seed: int = 0) -> Layout:
    """A project of ``tiny`` networks: all that the training stages read of the foundation, and latents."""
    layout = Layout(root)
    networks = build("tiny", seed)
    folder = layout.foundation
    for name in ("vae", "text_encoder", "tokenizer", "scheduler"):
        getattr(networks, name).save_pretrained(folder / name)
    networks.teacher.save_pretrained(folder / "unet")
    size = rewards.Size(width=16, layers=1, patch=8, text_width=16, steps=1)
    for name in ("image_reward", "image_reward_eval"):
        rewards.build("image", size, networks.tokenizer).save_pretrained(folder / name)
    for name in ("video_reward", "video_reward_eval"):
        rewards.build("video", size, networks.tokenizer).save_pretrained(folder / name)
    cache_latents(layout.latents, networks, draw_clips(SIZES["tiny"], clips, seed))
    return layout


def save_student(layout: Layout) -> None:
    """Put the student, as it is pruned, where stage 1 would put it."""
    teacher = load_teacher(layout.foundation)
    plan = hummingbird_plan(len(teacher.unet.config.block_out_channels), mid_block=False)
    torch.manual_seed(0)
    student = prune(teacher.unet, plan, guidance_dim=16)
    student.save_pretrained(layout.stage1 / "pruned")
    student_pipeline(teacher, student, SOLVER_STEPS).save_pretrained(layout.stage1 / "pipeline")


def short_params(steps: int) -> Params:
    """Every training stage in ``steps`` steps of two clips, at rates that do not depend on their number.

    The rates are low: at high ones the networks, which know nothing, magnify every rounding.
    """
    optim: dict[str, Any] = {
        "steps": steps,
        "batch_size": 2,
        "lr_schedule": "constant",
        "warmup_steps": 0,
        "ema_decay": 0.8,
    }
    optim["learning_rate"] = 1e-4
    phases = ("stage1.distillation", "stage1.consistency", "stage2.optim", "reneg.optim", "decoder.optim")
    return with_overrides(
        Params(),
        {
            **{f"{phase}.{name}": value for phase in phases for name, value in optim.items()},
            "stage2.optim.learning_rate": 1e-6,  # rewards of flat pictures have gradients a hundred times as steep
            "stage1.guidance_dim": 16,
            "stage1.solver_steps": SOLVER_STEPS,
            "stage2.reward_batch": 2,
            "stage2.validation_prompts": 2,
            "stage2.rewards.image_frames": 2,
            "reneg.rewards.image_frames": 2,
            "reneg.steps": 4,
            "reneg.late_steps": 2,
            "decoder.channels": [8, 8, 8, 8],
            "decoder.norm_groups": 4,
            "decoder.held_out": 2,
        },
    )
