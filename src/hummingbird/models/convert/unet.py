"""VideoCrafter2's UNet, and Hummingbird's, under their public names <-> :class:`VideoUNet`.

The public network counts ``input_blocks`` and ``output_blocks`` through all levels; a block is a residual layer (0)
with, where the level attends, a spatial (1) and a temporal (2) transformer, and in a level's last output block the
up-sampler; a down-sampler is an input block of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch

from hummingbird.errors import UserError
from hummingbird.models.convert.keymap import KeyMap, Rename
from hummingbird.models.unet import VideoUNet, layer_counts

#: Of the public configuration: what all of these networks have in common, and our class takes for granted.
_FIXED = {
    "transformer_depth": 1,
    "use_linear": True,
    "temporal_conv": True,
    "temporal_attention": True,
    "temporal_selfatt_only": True,
    "use_relative_position": False,
    "use_causal_attention": False,
    "addition_attention": True,
    "use_scale_shift_norm": False,
    "resblock_updown": False,
    "use_image_attention": False,
    "tempspatial_aware": False,
}
_RESNET = {  # ours -> public
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_cond_proj",
    "fps_embedding.linear_1": "fps_embedding.0",
    "fps_embedding.linear_2": "fps_embedding.2",
    "conv_in": "input_blocks.0.0",
    "transformer_in": "init_attn.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_PLACE = {"resnets": "0", "temp_convs": "0.temopral_conv", "attentions": "1", "temp_attentions": "2"}


def config_from_public(public: dict[str, Any], *, middle_block: bool = True) -> dict[str, Any]:
    """Arguments of :class:`VideoUNet` for a configuration in VideoCrafter2's terms (``model_channels``, ...).

    Raises:
        UserError: an option asks for something that the network does not have.
    """
    for option, value in _FIXED.items():
        if public.get(option, value) != value:
            raise UserError(
                f"the configuration has {option}: {public[option]}, but this network has {option}: {value}",
                "use a checkpoint of VideoCrafter2's or Hummingbird's text-to-video UNet",
            )
    mult = public["channel_mult"]
    attends = [2**level in public["attention_resolutions"] for level in range(len(mult))]
    return {
        "in_channels": public["in_channels"],
        "out_channels": public["out_channels"],
        "down_block_types": tuple("CrossAttnDownBlock3D" if it else "DownBlock3D" for it in attends),
        "up_block_types": tuple("CrossAttnUpBlock3D" if it else "UpBlock3D" for it in reversed(attends)),
        "block_out_channels": tuple(public["model_channels"] * factor for factor in mult),
        "layers_per_block": public["num_res_blocks"],
        "cross_attention_dim": public["context_dim"],
        "attention_head_dim": public["num_head_channels"],
        "time_cond_proj_dim": public.get("time_cond_proj_dim"),
        "fps_condition": public.get("fps_cond", public.get("fs_condition", False)),
        "default_fps": public.get("default_fs", 16),
        "has_mid_block": middle_block,
    }


def build_unet(config: dict[str, Any]) -> VideoUNet:
    """The network without weights, on the meta device."""
    with torch.device("meta"):
        return VideoUNet(**config)


def key_map(unet: VideoUNet) -> KeyMap:
    """Public and our names of all tensors of ``unet`` (which may be on the meta device).

    Raises:
        UserError: the network has parts that no public checkpoint has (the miniature's).
    """
    names = _Names(unet)
    return KeyMap("this UNet", [names.rename(key) for key in unet.state_dict()])


class _Names:
    """Public names of one network's tensors."""

    def __init__(self, unet: VideoUNet) -> None:
        self._blocks = dict(_block_numbers(unet.config))
        self._attends = {
            f"{group}.{level}": getattr(block, "has_cross_attention", False)
            for group in ("down_blocks", "up_blocks")
            for level, block in enumerate(getattr(unet, group))
        }

    def rename(self, key: str) -> Rename:
        group, *rest = key.split(".")
        if group in ("down_blocks", "up_blocks"):
            public = self._in_level(group, rest[0], rest[1], rest[2], rest[3:])
        elif group == "mid_block":
            public = _in_middle(rest[0], int(rest[1]), rest[2:])
        else:
            public = _at_top(key)
        return Rename(public, (key,), _axes(key))

    def _in_level(self, group: str, level: str, part: str, layer: str, tail: list[str]) -> str:
        if part == "downsamplers":
            return ".".join([self._blocks["downsamplers", level, layer], "0.op", *tail[1:]])
        if part == "upsamplers":
            place = "3" if self._attends[f"{group}.{level}"] else "1"
            return ".".join([self._blocks["upsamplers", level, layer], place, *tail])
        return ".".join([self._blocks[group, level, layer], _PLACE[part], *_resnet_tail(part, tail)])


def _block_numbers(config: Any) -> Iterator[tuple[tuple[str, str, str], str]]:
    """(group, level, layer) of ours -> public block, e.g. ``input_blocks.4``."""
    counts, number = layer_counts(config), count(1)  # input block 0 is the first convolution
    for level, layers in enumerate(counts):
        for layer in range(layers):
            yield ("down_blocks", str(level), str(layer)), f"input_blocks.{next(number)}"
        if level < len(counts) - 1:
            yield ("downsamplers", str(level), "0"), f"input_blocks.{next(number)}"
    number = count()
    for level, layers in enumerate(reversed(counts)):
        for layer in range(layers + 1):
            block = f"output_blocks.{next(number)}"
            yield ("up_blocks", str(level), str(layer)), block
        yield ("upsamplers", str(level), "0"), block  # with the level's last layer


def _in_middle(part: str, layer: int, tail: list[str]) -> str:
    """The middle is a residual layer, both transformers and another residual layer, numbered 0 to 3."""
    place = {"attentions": "1", "temp_attentions": "2"}.get(part, str(layer * 3))
    inner = ["temopral_conv"] if part == "temp_convs" else []
    return ".".join(["middle_block", place, *inner, *_resnet_tail(part, tail)])


def _resnet_tail(part: str, tail: list[str]) -> list[str]:
    return [_RESNET[tail[0]], *tail[1:]] if part == "resnets" else tail


def _at_top(key: str) -> str:
    for ours, public in _TOP.items():
        if key.startswith(ours + "."):
            return public + key.removeprefix(ours)
    raise UserError(
        f"{key} has no public name: it belongs to the miniature only",
        "convert a network without pooled_text and prompt_layout",
    )


def _axes(key: str) -> tuple[int, ...]:
    """``init_attn`` has convolutions of length 1 where we have linear layers."""
    return (2,) if key.startswith("transformer_in.proj_") and key.endswith(".weight") else ()
