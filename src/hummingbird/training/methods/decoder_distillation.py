"""Training of a light decoder to do what the VAE's own one does.

The chain keeps latents and no pixels, so the target of a frame is what the VAE's decoder makes of its latents, computed
on the fly without gradient. The light decoder never learns to be better than that one, and need not be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import Encoder
from torch import Tensor, nn
from torch.nn import functional as F

from hummingbird.models.light_decoder import LightDecoder, vae_features
from hummingbird.models.vae import raw_latents
from hummingbird.params import DecoderLosses


class DecoderDistillation:
    """Pixels, perception, features and motion of the VAE's decoder, each by its weight.

    - ``l1``, ``mse``: pixels in [-1, 1].
    - ``perceptual``: :func:`perceptual_distance` by the frozen encoder. Networks made for such distances come with
      weights of their own; this one is at hand, and has been trained on these very frames.
    - ``features``: squared difference of each block's output from that of the same block of the VAE's decoder, over the
      mean square of the latter; mean over blocks. A 1x1 convolution, trained along and thrown away, bridges the widths.
    - ``temporal``: L1 between the differences of neighbouring frames.

    A loss of weight 0 is not computed.

    Args:
        crop: edge of the random square of the latents that is decoded; None = all of them.

    Attributes:
        networks: those of ``trainable`` whose activations fill the memory: the light decoder.
    """

    def __init__(
        self, light: LightDecoder, vae: AutoencoderKL, weights: DecoderLosses, crop: int | None = None
    ) -> None:
        self.light, self.weights, self.crop = light, weights, crop
        self.networks: tuple[nn.Module, ...] = (light,)
        self.vae = vae.requires_grad_(False).eval()
        self.projections = nn.ModuleList(
            nn.Conv2d(narrow, wide, 1)
            for narrow, wide in zip(_widths(light), _widths(vae), strict=True)
        ) if weights.features else nn.ModuleList()  # fmt: skip
        self._trainable = nn.ModuleDict({"light": light, "projections": self.projections})

    @property
    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        latents: Tensor = batch["latents"]
        if self.crop is not None:
            latents = random_crop(latents, self.crop)
        frames = latents.shape[2]
        z = raw_latents(self.vae, latents.transpose(1, 2).flatten(0, 1))
        with torch.no_grad():
            target, wanted = vae_features(self.vae, z)
        output, features = self.light(z, frames)
        losses = {"l1": F.l1_loss(output, target), "mse": F.mse_loss(output, target)}
        if self.weights.perceptual:
            losses["perceptual"] = perceptual_distance(self.vae.encoder, output, target)
        if self.weights.features:
            losses["features"] = self._alignment(features, wanted)
        if self.weights.temporal and frames > 1:
            losses["temporal"] = F.l1_loss(_changes(output, frames), _changes(target, frames))
        weights = self.weights.model_dump()
        total = sum((weights[name] * value for name, value in losses.items()), start=torch.zeros_like(losses["l1"]))
        psnr = 10 * torch.log10(4 / losses["mse"].detach())
        return total, {"psnr_db": psnr, **{name: value.detach() for name, value in losses.items()}}

    def _alignment(self, features: list[Tensor], wanted: list[Tensor]) -> Tensor:
        distances = [
            F.mse_loss(project(ours), theirs) / theirs.square().mean()
            for project, ours, theirs in zip(self.projections, features, wanted, strict=True)
        ]
        return torch.stack(distances).mean()


def perceptual_distance(encoder: Encoder, pictures: Tensor, others: Tensor) -> Tensor:
    """Mean squared distance of unit feature vectors, place by place, over the levels of a frozen encoder: the form of
    LPIPS (https://arxiv.org/abs/1801.03924, eq. 1) without learned weights. Pictures are as the encoder takes them."""
    with torch.no_grad():
        wanted = _levels(encoder, others)
    seen = _levels(encoder, pictures)
    distances = [
        (F.normalize(ours, dim=1) - F.normalize(theirs, dim=1)).square().sum(dim=1).mean()
        for ours, theirs in zip(seen, wanted, strict=True)
    ]
    return torch.stack(distances).mean()


def random_crop(latents: Tensor, edge: int) -> Tensor:
    """One square of ``edge`` positions, less where there are fewer, of latents [B, C, T, h, w]; the same for all."""
    rng = np.random.default_rng(torch.initial_seed())  # the trainer seeds every part
    top, left = (int(rng.integers(max(1, side - edge + 1))) for side in latents.shape[-2:])
    return latents[..., top : top + edge, left : left + edge]


def _levels(encoder: Encoder, pictures: Tensor) -> list[Tensor]:
    hidden = encoder.conv_in(pictures)
    found = []
    for block in encoder.down_blocks:
        hidden = block(hidden)
        found.append(hidden)
    return found


def _widths(decoder: AutoencoderKL | LightDecoder) -> list[int]:
    """Channels behind the middle block and behind each up block."""
    deep_first = list(decoder.config.block_out_channels)[::-1]
    return [deep_first[0], *deep_first]


def _changes(frames: Tensor, num_frames: int) -> Tensor:
    return frames.unflatten(0, (-1, num_frames)).diff(dim=1)
