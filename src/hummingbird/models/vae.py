"""Per-frame image VAE: diffusers' ``AutoencoderKL``, applied to video frame by frame.

Latents are normalised with the VAE's own ``scaling_factor`` and, where set, ``shift_factor``:
``z = (mean - shift) * scale`` (VideoCrafter2: scale 0.18215, no shift).
"""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor
from torch.nn import functional as F


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


def patch_size(vae: AutoencoderKL) -> int:
    """Edge of the pixel patches the VAE takes as channels: 1 for Stable Diffusion's, 4 for the miniature's."""
    return math.isqrt(vae.config.in_channels // 3)


def downscale_factor(vae: AutoencoderKL) -> int:
    """Pixels per latent position along each side (8 at both sizes)."""
    return patch_size(vae) * 2 ** (len(vae.config.block_out_channels) - 1)


def pixels_from_video(video: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] -> float [..., 3, H, W] in [-1, 1]."""
    return video.movedim(-1, -3).float() / 127.5 - 1.0


def posterior(vae: AutoencoderKL, frames: Tensor) -> DiagonalGaussianDistribution:
    """The encoder's distribution for frames [N, 3, H, W] in [-1, 1]."""
    return vae.encode(F.pixel_unshuffle(frames, patch_size(vae))).latent_dist


def reconstruct(vae: AutoencoderKL, z: Tensor) -> Tensor:
    """Raw latents [N, C, h, w] -> frames [N, 3, H, W] around [-1, 1]."""
    return F.pixel_shuffle(vae.decode(z).sample, patch_size(vae))


def encode_frames(vae: AutoencoderKL, frames: Tensor) -> Tensor:
    """Frames [N, 3, H, W] in [-1, 1] -> normalised posterior means [N, C, H/8, W/8]."""
    mean = posterior(vae, frames).mode()
    return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def decode_frames(vae: AutoencoderKL, latents: Tensor, chunk: int | None = None) -> Tensor:
    """Normalised latents [N, C, h, w] -> frames [N, 3, H, W] around [-1, 1], ``chunk`` frames at a time."""
    z = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    parts = z.split(chunk) if chunk else (z,)
    return torch.cat([reconstruct(vae, part) for part in parts])


def decode_video(vae: AutoencoderKL, latents: Tensor, chunk: int | None = None) -> Tensor:
    """Latents [B, C, T, h, w] -> video [B, T, 3, H, W] in [0, 1]; differentiable."""
    batch, _, frames = latents.shape[:3]
    flat = latents.transpose(1, 2).flatten(0, 1)
    images = decode_frames(vae, flat, chunk)
    return (images.unflatten(0, (batch, frames)) / 2 + 0.5).clamp(0, 1)
