"""Per-frame image VAE: diffusers' ``AutoencoderKL``, applied to video frame by frame, and what may decode in its place.

Latents are normalised with the VAE's own ``scaling_factor`` and, where set, ``shift_factor``:
``z = (mean - shift) * scale`` (VideoCrafter2: scale 0.18215, no shift).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Decoder(Protocol):
    """What turns latents into pixels: the VAE, or a smaller network in its place.

    ``config`` has ``latent_channels``, ``out_channels``, ``block_out_channels``, ``scaling_factor`` and
    ``shift_factor`` as ``AutoencoderKL``'s, and a true ``temporal`` where ``decode`` takes ``num_frames``.
    """

    config: Any

    def decode(self, z: Tensor, /) -> Any: ...


def miniature_vae() -> AutoencoderKL:
    """An f8 autoencoder for 32-pixel frames: [3, 32, 32] -> [16, 4, 4], by 4x4 pixel patches and one more halving.

    It sees pixel patches as Wan2.2's VAE does: at this size convolutions at full resolution are all cost and no gain.
    """
    return AutoencoderKL(
        in_channels=3 * 4 * 4,
        out_channels=3 * 4 * 4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(64, 96),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=32,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def patch_size(vae: Decoder) -> int:
    """Edge of the pixel patches the VAE gives as channels: 1 for Stable Diffusion's, 4 for the miniature's."""
    return math.isqrt(vae.config.out_channels // 3)


def downscale_factor(vae: Decoder) -> int:
    """Pixels per latent position along each side (8 at both sizes)."""
    return patch_size(vae) * 2 ** (len(vae.config.block_out_channels) - 1)


def pixels_from_video(video: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] -> float [..., 3, H, W] in [-1, 1]."""
    return video.movedim(-1, -3).float() / 127.5 - 1.0


def posterior(vae: AutoencoderKL, frames: Tensor) -> DiagonalGaussianDistribution:
    """The encoder's distribution for frames [N, 3, H, W] in [-1, 1]."""
    return vae.encode(F.pixel_unshuffle(frames, patch_size(vae))).latent_dist


def reconstruct(vae: Decoder, z: Tensor, num_frames: int = 1) -> Tensor:
    """Raw latents [N, C, h, w] of clips of ``num_frames`` frames -> frames [N, 3, H, W] around [-1, 1]."""
    extra = {"num_frames": num_frames} if vae.config.get("temporal") else {}
    return F.pixel_shuffle(vae.decode(z, **extra).sample, patch_size(vae))


def encode_frames(vae: AutoencoderKL, frames: Tensor) -> Tensor:
    """Frames [N, 3, H, W] in [-1, 1] -> normalised posterior means [N, C, H/8, W/8]."""
    mean = posterior(vae, frames).mode()
    return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def raw_latents(vae: Decoder, latents: Tensor) -> Tensor:
    """Normalised latents as the decoder takes them."""
    return latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)


def decode_frames(vae: Decoder, latents: Tensor, chunk: int | None = None, num_frames: int = 1) -> Tensor:
    """Normalised latents [N, C, h, w] -> frames [N, 3, H, W] around [-1, 1], ``chunk`` frames at a time, or a clip of
    ``num_frames`` at a time where the decoder looks at neighbouring ones."""
    z = raw_latents(vae, latents)
    if chunk and vae.config.get("temporal"):
        chunk = max(1, chunk // num_frames) * num_frames
    parts = z.split(chunk) if chunk else (z,)
    return torch.cat([reconstruct(vae, part, num_frames) for part in parts])


def decode_video(vae: Decoder, latents: Tensor, chunk: int | None = None) -> Tensor:
    """Latents [B, C, T, h, w] -> video [B, T, 3, H, W] in [0, 1]; differentiable."""
    batch, _, frames = latents.shape[:3]
    flat = latents.transpose(1, 2).flatten(0, 1)
    images = decode_frames(vae, flat, chunk, frames)
    return (images.unflatten(0, (batch, frames)) / 2 + 0.5).clamp(0, 1)


def decode_checkpointed(vae: AutoencoderKL, latents: Tensor, chunk: int) -> Tensor:
    """As :func:`decode_frames`, keeping the latents alone for the backward pass, which decodes each chunk again.

    At any time only one chunk's activations are in memory; the decoder runs twice. It must have no dropout.
    """
    parts = [
        checkpoint(decode_frames, vae, part, use_reentrant=False, preserve_rng_state=False)
        for part in latents.split(chunk)
    ]
    return torch.cat(parts)
