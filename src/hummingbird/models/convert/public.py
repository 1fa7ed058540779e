"""The published networks by name, loaded from their public checkpoint files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from hummingbird.errors import UserError, did_you_mean
from hummingbird.models.convert import dover, text, unet, vae
from hummingbird.models.convert.loading import load_public
from hummingbird.models.convert.reading import TEXT, UNET, VAE, part, read_tensors
from hummingbird.models.dover import Dover
from hummingbird.models.text_tower import OpenClipTextTower, build_tower, text_config
from hummingbird.models.unet import VideoUNet

#: Arguments of :class:`VideoUNet`, whose defaults are VideoCrafter2's.
UNETS: dict[str, dict[str, Any]] = {
    "videocrafter2": {},
    "hummingbird-0.9b": {"layers_per_block": 1},
    "hummingbird-0.7b": {"layers_per_block": 1, "has_mid_block": False},
}
#: VideoCrafter2's autoencoder: Stable Diffusion's.
VAE_CONFIG: dict[str, Any] = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 512,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": (1, 2, 4, 4),
    "num_res_blocks": 2,
    "attn_resolutions": (),
}
_GUIDANCE = "time_cond_proj.weight"


def load_unet(path: Path, name: str, dtype: torch.dtype | None = None) -> VideoUNet:
    """A UNet, with a guidance embedding if the checkpoint has one. ``dtype``: none = as in the file.

    Raises:
        UserError: unknown name, or the file is damaged, refused, or of another network; see
            :func:`~hummingbird.models.convert.reading.read_tensors` and
            :func:`~hummingbird.models.convert.loading.load_public`.
    """
    tensors = part(read_tensors(path), UNET)
    guidance = {"time_cond_proj_dim": tensors[_GUIDANCE].shape[-1]} if _GUIDANCE in tensors else {}
    network = unet.build_unet(_named(name, UNETS) | guidance)
    return load_public(network, unet.key_map(network), tensors, dtype)


def load_vae(path: Path, dtype: torch.dtype | None = None) -> AutoencoderKL:
    """VideoCrafter2's autoencoder. Raises as :func:`load_unet` does."""
    network = vae.build_vae(vae.config_from_public(VAE_CONFIG, VAE_CONFIG["z_channels"]))
    return load_public(network, vae.key_map(network), part(read_tensors(path), VAE), dtype)


def load_text_tower(path: Path, dtype: torch.dtype | None = None) -> OpenClipTextTower:
    """OpenCLIP ViT-H-14's text half, whole; see :func:`~hummingbird.models.text_tower.conditioning_tower` for what a
    denoiser reads. Raises as :func:`load_unet` does."""
    network = build_tower(text_config())
    return load_public(network, text.key_map(network), part(read_tensors(path), TEXT), dtype)


def load_dover(path: Path, name: str = "dover", dtype: torch.dtype | None = None) -> Dover:
    """``dover`` or ``dover-mobile``. Raises as :func:`load_unet` does."""
    network = dover.build_dover(_named(name, dover.PUBLISHED))
    return load_public(network, dover.key_map(network), read_tensors(path), dtype)


def _named(name: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if name not in known:
        raise UserError(f"unknown architecture {name!r}", did_you_mean(name, known))
    return known[name]
