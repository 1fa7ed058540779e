"""The published networks by name, loaded from their public checkpoint files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextConfig

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


def load_unet(path: Path, network: str | Mapping[str, Any], dtype: torch.dtype | None = None) -> VideoUNet:
    """A UNet, with a guidance embedding if the checkpoint has one.

    Args:
        network: a name of :data:`UNETS`, or arguments of :class:`VideoUNet` for another size.
        dtype: of the parameters; none = as in the file.

    Raises:
        UserError: unknown name, or the file is damaged, refused, or of another network; see
            :func:`~hummingbird.models.convert.reading.read_tensors` and
            :func:`~hummingbird.models.convert.loading.load_public`.
    """
    tensors = part(read_tensors(path), UNET)
    guidance = {"time_cond_proj_dim": tensors[_GUIDANCE].shape[-1]} if _GUIDANCE in tensors else {}
    made = unet.build_unet(_options(network, UNETS) | guidance)
    return load_public(made, unet.key_map(made), tensors, dtype)


def load_vae(
    path: Path, dtype: torch.dtype | None = None, public_config: Mapping[str, Any] = VAE_CONFIG
) -> AutoencoderKL:
    """VideoCrafter2's autoencoder, or one of another size. Raises as :func:`load_unet` does."""
    network = vae.build_vae(vae.config_from_public(dict(public_config), public_config["z_channels"]))
    return load_public(network, vae.key_map(network), part(read_tensors(path), VAE), dtype)


def load_text_tower(
    path: Path, dtype: torch.dtype | None = None, config: CLIPTextConfig | None = None
) -> OpenClipTextTower:
    """OpenCLIP's text half, whole (``config``: none = ViT-H-14's); see
    :func:`~hummingbird.models.text_tower.conditioning_tower` for what a denoiser reads. Raises as :func:`load_unet`
    does."""
    network = build_tower(config or text_config())
    return load_public(network, text.key_map(network), part(read_tensors(path), TEXT), dtype)


def load_dover(path: Path, network: str | Mapping[str, Any] = "dover", dtype: torch.dtype | None = None) -> Dover:
    """``dover``, ``dover-mobile``, or one with other arguments of :class:`Dover`. Raises as :func:`load_unet` does."""
    made = dover.build_dover(_options(network, dover.PUBLISHED))
    return load_public(made, dover.key_map(made), read_tensors(path), dtype)


def _options(network: str | Mapping[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if not isinstance(network, str):
        return dict(network)
    if network not in known:
        raise UserError(f"unknown architecture {network!r}", did_you_mean(network, known))
    return known[network]
