"""InternVideo2 stage 2 (the dictionary under the checkpoint's key ``module``) <-> our ``InternVideo2Reward``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from accelerate import init_empty_weights
from torch import Tensor

from hummingbird.models.convert.keymap import KeyMap, Rename, renamed
from hummingbird.models.convert.loading import load_public
from hummingbird.models.rewards.internvideo2 import InternVideo2Config, InternVideo2Reward

#: What only pre-training and matching use, with the layers of BERT after ours, which look at the video.
_UNUSED = (
    r"vision_encoder\.(final_)?clip_decoder\..*|vision_encoder\.clip_(img_)?pos_embed"  # distillation
    r"|temp|itm_head\..*|text_encoder\.cls\..*"  # pre-training and matching
    r"|text_encoder\.bert\.embeddings\.position_ids"  # the numbers of the positions, in files of older versions
    r"|text_encoder\.bert\.encoder\.layer\.(?!(?:{ours})\.)\d+\..*"
)


def key_map(config: InternVideo2Config) -> KeyMap:
    """InternVideo2's and our names of all tensors."""
    ours = "|".join(str(index) for index in range(config.text_config.num_hidden_layers))
    unused = re.compile(_UNUSED.format(ours=ours))
    return KeyMap("this InternVideo2", [*vision_renames(config), *text_renames(config)], unused=unused)


def vision_renames(config: InternVideo2Config) -> Iterator[Rename]:
    """The vision tower and its projection. Its patches have an axis for time."""
    theirs, ours = "vision_encoder.", "vision_model."
    yield Rename(f"{theirs}cls_token", (f"{ours}class_token",))
    yield Rename(f"{theirs}pos_embed", (f"{ours}video_positions",))
    yield Rename(f"{theirs}img_pos_embed", (f"{ours}image_positions",))
    yield Rename(f"{theirs}patch_embed.proj.weight", (f"{ours}patch_embedding.weight",), axes=(2,))
    yield Rename(f"{theirs}patch_embed.proj.bias", (f"{ours}patch_embedding.bias",))
    yield from renamed({"vision_proj": f"{ours}projection"})
    for index in range(config.num_hidden_layers):
        old, new = f"{theirs}blocks.{index}.", f"{ours}blocks.{index}."
        yield from renamed({f"{old}{it}": f"{new}{it}" for it in ("norm1", "norm2", "attn.qkv")}, ["weight"])
        yield from renamed({f"{old}attn.{it}_norm": f"{new}attn.{it}_norm" for it in "qk"}, ["weight"])
        yield from (Rename(f"{old}ls{it}.gamma", (f"{new}scale{it}",)) for it in "12")
        yield from renamed({f"{old}attn.proj": f"{new}attn.proj"} | {f"{old}mlp.fc{it}": f"{new}fc{it}" for it in "12"})
    yield from _pool_renames(f"{theirs}clip_projector.", f"{ours}pool.")


def text_renames(config: InternVideo2Config) -> Iterator[Rename]:
    """The first layers of BERT, as many as the configuration has, and the projection."""
    theirs, ours = "text_encoder.bert.", "text_model.bert."
    parts = [f"attention.self.{role}" for role in ("query", "key", "value")]
    parts += ["attention.output.dense", "attention.output.LayerNorm"]
    parts += ["intermediate.dense", "output.dense", "output.LayerNorm"]
    tables = [f"embeddings.{it}_embeddings" for it in ("word", "position", "token_type")]
    modules = ["embeddings.LayerNorm"]
    modules += [f"encoder.layer.{index}.{it}" for index in range(config.text_config.num_hidden_layers) for it in parts]
    yield from renamed({f"{theirs}{it}": f"{ours}{it}" for it in tables}, ["weight"])
    yield from renamed({"text_proj": "text_model.projection"} | {f"{theirs}{it}": f"{ours}{it}" for it in modules})


def load(
    state: Mapping[str, Tensor], config: InternVideo2Config, dtype: torch.dtype | None = None
) -> InternVideo2Reward:
    """The frozen reward of an InternVideo2 state dict, without a tokenizer.

    Raises:
        UserError: see :func:`~hummingbird.models.convert.loading.load_public`.
    """
    with init_empty_weights():
        network = InternVideo2Reward(config)
    return load_public(network, key_map(config), state, dtype).requires_grad_(False).eval()


def _pool_renames(theirs: str, ours: str) -> Iterator[Rename]:
    """The attention pooling, whose biases stand beside its projections."""
    for role in "qkv":
        yield from renamed({f"{theirs}cross_attn.{role}": f"{ours}{role}"}, ["weight"])
        yield Rename(f"{theirs}cross_attn.{role}_bias", (f"{ours}{role}.bias",))
    yield from renamed({f"{theirs}cross_attn.proj": f"{ours}proj"})
    yield from renamed({f"{theirs}norm1_{role}": f"{ours}norm_{role}" for role in "qkv"})
