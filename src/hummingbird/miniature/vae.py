"""Training of the miniature VAE on frames of the world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from hummingbird.data import world
from hummingbird.models.vae import (
    decode_frames,
    encode_frames,
    miniature_vae,
    pixels_from_video,
    posterior,
    reconstruct,
)
from hummingbird.params import Optim
from hummingbird.runlog import RunLog
from hummingbird.training.trainer import Trainer
from hummingbird.training.workfolder import config_key

CLIPS = 3072
SPOILT = 0.3  # the teacher must be able to see, and so to avoid, what is bad


def world_frames(seed: int, clips: int) -> Tensor:
    """Frames [clips * 8, 32, 32, 3] uint8 of freshly drawn clips, a share of them spoilt."""
    videos = [world.make_clip(seed, i, spoilt_share=SPOILT).video for i in range(clips)]
    return torch.from_numpy(np.concatenate(videos))


class VaeMethod:
    """L1 + 2 MSE reconstruction, KL 1e-4 (facts: measured to give 31 dB at this capacity)."""

    def __init__(self, vae: AutoencoderKL) -> None:
        self.vae = vae

    @property
    def trainable(self) -> nn.Module:
        return self.vae

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        latents = posterior(self.vae, batch)
        output = reconstruct(self.vae, latents.sample())
        l1, mse = F.l1_loss(output, batch), F.mse_loss(output, batch)
        kl = latents.kl().mean() / batch[0].numel()
        psnr = 10 * torch.log10(4 / mse.detach())
        return l1 + 2 * mse + 1e-3 * kl, {"psnr_db": psnr, "kl": kl.detach()}


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, frames: Tensor) -> None:
    """Set the VAE's scale and shift so that its latents have mean 0 and deviation 1 on ``frames`` [N, 3, H, W]."""
    mean = posterior(vae, frames).mode()
    vae.register_to_config(scaling_factor=float(1 / mean.std()), shift_factor=float(mean.mean()))


def train(out: Path, *, seed: int, budget: float, work: Path, log: RunLog) -> dict[str, float]:
    """Train from nothing and save to ``out``; returns the reconstruction error on unseen clips."""
    frames = world_frames(seed, max(64, int(CLIPS * min(budget, 1))))
    torch.manual_seed(seed)
    vae = miniature_vae()
    optim = Optim(
        steps=max(2, int(3000 * budget)),
        batch_size=64,
        learning_rate=2e-3,
        warmup_steps=int(50 * budget),
        ema_decay=0.99 if budget > 0.3 else 0.0,
    )

    def data(step: int) -> Tensor:
        rng = np.random.default_rng([seed, step])
        return pixels_from_video(frames[torch.from_numpy(rng.integers(0, len(frames), optim.batch_size))])

    work = work / f"vae_{config_key(seed, budget)}"
    Trainer(VaeMethod(vae), data, optim, work=work, seed=seed, log=log, description="vae", on_cpu=True).fit()
    normalise_latents(vae, data(-1 % optim.steps))
    figures = {"psnr_db": reconstruction_psnr(vae, seed + 1), "steps": optim.steps}
    vae.half().save_pretrained(out)  # loading takes it back to single precision
    return figures


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, seed: int, clips: int = 64) -> float:
    """PSNR in dB over clean unseen clips."""
    videos = np.concatenate([world.make_clip(seed, i).video for i in range(clips)])
    pixels = pixels_from_video(torch.from_numpy(videos))
    error = F.mse_loss(decode_frames(vae, encode_frames(vae, pixels)), pixels)
    return float(10 * torch.log10(4 / error))
