"""The frame autoencoder under its public names (``first_stage_model.``) <-> diffusers' ``AutoencoderKL``."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL

from hummingbird.errors import UserError
from hummingbird.models.convert.keymap import KeyMap, Rename

SCALING_FACTOR = 0.18215  # of VideoCrafter2's latents, as of Stable Diffusion's

_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}


def config_from_public(ddconfig: dict[str, Any], embed_dim: int) -> dict[str, Any]:
    """Arguments of ``AutoencoderKL`` for a public configuration (``ch``, ``ch_mult``, ...).

    Raises:
        UserError: an option asks for something that ``AutoencoderKL`` does not have.
    """
    unknown = [
        ("attn_resolutions", bool(ddconfig["attn_resolutions"])),
        ("double_z", not ddconfig["double_z"]),
        ("embed_dim", embed_dim != ddconfig["z_channels"]),
    ]
    for option, wrong in unknown:
        if wrong:
            raise UserError(
                f"no autoencoder here has {option}: {ddconfig.get(option, embed_dim)}",
                "use a checkpoint of Stable Diffusion's KL autoencoder, as VideoCrafter2's is",
            )
    levels = len(ddconfig["ch_mult"])
    return {
        "in_channels": ddconfig["in_channels"],
        "out_channels": ddconfig["out_ch"],
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(ddconfig["ch"] * factor for factor in ddconfig["ch_mult"]),
        "layers_per_block": ddconfig["num_res_blocks"],
        "latent_channels": ddconfig["z_channels"],
        "sample_size": ddconfig["resolution"],
        "scaling_factor": SCALING_FACTOR,
    }


def build_vae(config: dict[str, Any]) -> AutoencoderKL:
    """The network without weights, on the meta device."""
    with torch.device("meta"):
        return AutoencoderKL(**config)


def key_map(vae: AutoencoderKL) -> KeyMap:
    """Public and our names of all tensors of ``vae`` (which may be on the meta device)."""
    levels = len(vae.config.block_out_channels)
    return KeyMap("this autoencoder", [Rename(_public(key, levels), (key,), _axes(key)) for key in vae.state_dict()])


def _public(key: str, levels: int) -> str:
    half, part, *rest = key.split(".")
    if part == "mid_block":
        return f"{half}.mid.{_in_middle(rest)}"
    if part in ("down_blocks", "up_blocks"):
        level = int(rest[0]) if part == "down_blocks" else levels - 1 - int(rest[0])  # the public decoder counts down
        where = f"{half}.{part.removesuffix('_blocks')}.{level}"
        if rest[1] == "resnets":
            return f"{where}.block.{rest[2]}.{_in_resnet(rest[3:])}"
        return f"{where}.{rest[1].removesuffix('rs')}.conv.{rest[-1]}"
    return key.replace("conv_norm_out", "norm_out")


def _in_middle(rest: list[str]) -> str:
    if rest[0] == "attentions":
        return f"attn_1.{_ATTENTION[rest[2]]}.{rest[-1]}"
    return f"block_{int(rest[1]) + 1}.{_in_resnet(rest[2:])}"


def _in_resnet(tail: list[str]) -> str:
    return ".".join(tail).replace("conv_shortcut", "nin_shortcut")


def _axes(key: str) -> tuple[int, ...]:
    """The public attention has 1 x 1 convolutions where we have linear layers."""
    return (2, 3) if ".attentions." in key and key.endswith(".weight") and "group_norm" not in key else ()
