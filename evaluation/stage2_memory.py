"""Peak memory of one step of stage 2: whole clips decoded and kept, against frames decoded a few at a time.

    python -m evaluation.stage2_memory --out evaluation/results/stage2_memory.json

Each figure is of a process of its own: how far its resident set grows in one step, forward and backward, once all
networks are loaded, and the bytes that autograd keeps between the two. All weights are random: a step takes the same
memory whatever they are. Orders alternate; the median of the repeats is given. The seconds are this machine's, which
may have had other work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from evaluation.latency.machine import measured_peak_bytes, where_and_what
from hummingbird.files import write_json
from hummingbird.miniature.rewards import SIZES as REWARDS
from hummingbird.miniature.rewards import build
from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.noise import NoiseSchedule
from hummingbird.models.pruning import hummingbird_plan, prune
from hummingbird.models.text import build_world_tokenizer
from hummingbird.models.unet import VideoUNet, miniature_unet
from hummingbird.models.vae import downscale_factor, miniature_vae
from hummingbird.training.methods.anchor import ConsistencyAnchor
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.methods.mixture import DecodedRewards, RewardMixture
from hummingbird.training.methods.reward import RewardFeedback

CAPTION = "a large plain red circle moves slowly left on sea"
TEXT_WIDTH = 96


@dataclass(frozen=True)
class Size:
    """Clips of ``frames`` square frames, ``pixels`` wide, ``batch`` of them, all graded."""

    batch: int
    frames: int
    pixels: int
    image_frames: int = 4
    video_frames: int = 8


SIZES = {"miniature": Size(16, 8, 32), "mid": Size(1, 16, 128)}
CHUNKS: dict[str, tuple[int | None, ...]] = {"miniature": (None, 8, 1), "mid": (None, 4, 1)}


def networks(name: str) -> tuple[VideoUNet, AutoencoderKL]:
    """Teacher and VAE: the miniature's; or one of 4 latent channels with an f8 decoder like Stable Diffusion's at
    half its width and less."""
    if name == "miniature":
        return miniature_unet(TEXT_WIDTH), miniature_vae()
    unet = VideoUNet(
        down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
        up_block_types=("CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        block_out_channels=(64, 128),
        norm_num_groups=8,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=16,
        temporal_dropout=0.0,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(64, 128, 256, 256),
        layers_per_block=2,
        latent_channels=4,
    )
    return unet, vae


def make_step(name: str, chunk: int | None) -> tuple[RewardFeedback, dict[str, Any]]:
    """The method with its networks, and a batch."""
    torch.manual_seed(0)
    size = SIZES[name]
    unet, vae = networks(name)
    tokenizer = build_world_tokenizer()
    image, video = (build(kind, REWARDS[kind, False], tokenizer) for kind in ("image", "video"))
    mixture = RewardMixture(
        image.requires_grad_(False),
        video.requires_grad_(False),
        image_weight=1.0,
        video_weight=2.0,
        image_frames=size.image_frames,
        video_frames=size.video_frames,
    )
    teacher = GuidedTeacher(unet, torch.randn(1, tokenizer.model_max_length, TEXT_WIDTH))
    student = prune(unet, hummingbird_plan(2, mid_block=False)).requires_grad_(True)
    schedule = NoiseSchedule(miniature_scheduler())
    anchor = ConsistencyAnchor(ConsistencyDistillation(student, teacher, schedule, guidance=(2.5, 5.0)))
    rewards = DecodedRewards(vae.requires_grad_(False).eval(), mixture, chunk)
    edge = size.pixels // downscale_factor(vae)
    batch = {
        "latents": torch.randn(size.batch, unet.config.in_channels, size.frames, edge, edge),
        "text": torch.randn(size.batch, tokenizer.model_max_length, TEXT_WIDTH),
        "fps": torch.full((size.batch,), 8.0),
        "captions": [CAPTION] * size.batch,
    }
    return RewardFeedback(anchor, rewards, reward_batch=size.batch), batch


def measure(name: str, chunk: int | None) -> dict[str, float]:
    """One step in this process, which must have done nothing else."""
    method, batch = make_step(name, chunk)
    weights = {p.untyped_storage().data_ptr() for p in _parameters(method)}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    figures: dict[str, float] = {}

    def step() -> None:
        start = time.perf_counter()
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss, _ = method.loss(batch, 0)
        loss.backward()
        figures.update(loss=float(loss.detach()), seconds=time.perf_counter() - start)

    peak = measured_peak_bytes(step, torch.device("cpu"))
    if peak is None:
        raise RuntimeError("this system does not tell how much memory a process has used")
    return {"peak_bytes": peak, "kept_bytes": sum(kept.values()), **figures}


def _parameters(method: RewardFeedback) -> list[Tensor]:
    mixture, anchor = method.rewards.mixture, method.anchor
    assert isinstance(anchor, ConsistencyAnchor)
    modules = [anchor.student, anchor.distillation.teacher.unet, method.rewards.vae, mixture.image, mixture.video]
    return [p for module in modules if isinstance(module, torch.nn.Module) for p in module.parameters()]


def compare(name: str, repeats: int) -> dict[str, Any]:
    """Every way of decoding at one size, each in fresh processes."""
    runs: dict[str, list[Mapping[str, float]]] = {}
    for repeat in range(repeats):
        order = CHUNKS[name] if repeat % 2 == 0 else CHUNKS[name][::-1]
        for chunk in order:
            command = [sys.executable, "-m", "evaluation.stage2_memory", "--measure", name, str(chunk or 0)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.setdefault(_label(chunk), []).append(json.loads(done.stdout.splitlines()[-1]))
    ways: dict[str, dict[str, Any]] = {
        label: {key: statistics.median(run[key] for run in found) for key in found[0]} | {"runs": found}
        for label, found in runs.items()
    }
    whole = ways[_label(None)]
    for way in ways.values():
        way["peak_of_whole"] = way["peak_bytes"] / whole["peak_bytes"]
        way["kept_of_whole"] = way["kept_bytes"] / whole["kept_bytes"]
    return {"size": asdict(SIZES[name]), "ways": ways}


def _label(chunk: int | None) -> str:
    return "whole clips, kept" if chunk is None else f"frames seen, {chunk} at a time"


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("evaluation/results/stage2_memory.json"))
    parser.add_argument("--measure", nargs=2, metavar=("SIZE", "CHUNK"), help="one step here; 0 = whole clips")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure[0], int(given.measure[1]) or None)))
        return
    conditions = {
        "command": f"python -m evaluation.stage2_memory --repeats {given.repeats}",
        **where_and_what(torch.device("cpu"), Path()),
        "dtype": "float32",
    }
    sizes = {name: compare(name, given.repeats) for name in SIZES}
    write_json(given.out, {"conditions": conditions, "sizes": sizes})
    for name, found in sizes.items():
        for label, way in found["ways"].items():
            print(
                f"{name}: {label}: peak {way['peak_bytes'] / 1e6:.0f} MB ({way['peak_of_whole']:.2f}), "
                f"kept {way['kept_bytes'] / 1e6:.0f} MB ({way['kept_of_whole']:.2f}), {way['seconds']:.1f} s"
            )


if __name__ == "__main__":
    main()
