"""InternVideo2 stage 2 (the dictionary under the checkpoint's key ``module``) <-> our ``InternVideo2Reward``.

The checkpoint also holds what only pre-training and matching use. It is set aside by name, so that a key that nobody
knows is still an error, and can be put back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from hummingbird.models.convert.mapping import Names, filled, inverse, rename, reshaped, split_unused
from hummingbird.models.rewards.internvideo2 import InternVideo2Config, InternVideo2Reward

_PATCHES = ("vision_model.patch_embedding.weight",)  # theirs has an axis of length 1 for time
_UNUSED = re.compile(
    r"vision_encoder\.(final_)?clip_decoder\..*|vision_encoder\.clip_(img_)?pos_embed"  # distillation
    r"|temp|itm_head\..*|text_encoder\.cls\..*"  # pre-training and matching
    r"|text_encoder\.bert\.embeddings\.position_ids"  # the numbers of the positions, in files of older versions
)
_LAYER = re.compile(r"text_encoder\.bert\.encoder\.layer\.(\d+)\..*")


def vision_names(config: InternVideo2Config) -> Names:
    """The vision tower and its projection."""
    theirs, ours = "vision_encoder.", "vision_model."
    pairs = {
        f"{theirs}cls_token": f"{ours}class_token",
        f"{theirs}pos_embed": f"{ours}video_positions",
        f"{theirs}img_pos_embed": f"{ours}image_positions",
    }
    modules = {f"{theirs}patch_embed.proj": f"{ours}patch_embedding", "vision_proj": f"{ours}projection"}
    pool, cross = f"{ours}pool.", f"{theirs}clip_projector.cross_attn."
    modules[f"{cross}proj"] = f"{pool}proj"
    for role in "qkv":
        pairs[f"{cross}{role}.weight"] = f"{pool}{role}.weight"
        pairs[f"{cross}{role}_bias"] = f"{pool}{role}.bias"
        modules[f"{theirs}clip_projector.norm1_{role}"] = f"{pool}norm_{role}"
    for index in range(config.num_hidden_layers):
        old, new = f"{theirs}blocks.{index}.", f"{ours}blocks.{index}."
        pairs |= {f"{old}{it}.weight": f"{new}{it}.weight" for it in ("norm1", "norm2", "attn.qkv")}
        pairs |= {f"{old}attn.{it}_norm.weight": f"{new}attn.{it}_norm.weight" for it in "qk"}
        pairs |= {f"{old}ls{it}.gamma": f"{new}scale{it}" for it in "12"}
        modules |= {f"{old}attn.proj": f"{new}attn.proj", f"{old}mlp.fc1": f"{new}fc1", f"{old}mlp.fc2": f"{new}fc2"}
    return pairs | _with_bias(modules)


def text_names(config: InternVideo2Config) -> Names:
    """The first layers of BERT, as many as the configuration has, and the projection."""
    theirs, ours = "text_encoder.bert.", "text_model.bert."
    tables = {f"embeddings.{it}_embeddings.weight" for it in ("word", "position", "token_type")}
    modules = {"text_proj": "text_model.projection", f"{theirs}embeddings.LayerNorm": f"{ours}embeddings.LayerNorm"}
    parts = [f"attention.self.{role}" for role in ("query", "key", "value")]
    parts += ["attention.output.dense", "attention.output.LayerNorm"]
    parts += ["intermediate.dense", "output.dense", "output.LayerNorm"]
    for index in range(config.text_config.num_hidden_layers):
        modules |= {f"{theirs}encoder.layer.{index}.{it}": f"{ours}encoder.layer.{index}.{it}" for it in parts}
    return {f"{theirs}{it}": f"{ours}{it}" for it in sorted(tables)} | _with_bias(modules)


def to_ours(state: Mapping[str, Tensor], config: InternVideo2Config) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """InternVideo2's state dict -> ours, and the tensors that a reward does not use (under their own names).

    Raises:
        UserError: keys are missing or left over.
    """
    layers = config.text_config.num_hidden_layers
    used, unused = split_unused(state, lambda name: _is_unused(name, layers))
    ours = rename(used, vision_names(config) | text_names(config))
    return reshaped(ours, _PATCHES, lambda weight: weight.squeeze(2)), unused


def to_public(
    state: Mapping[str, Tensor], config: InternVideo2Config, unused: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Our state dict -> InternVideo2's, with the ``unused`` tensors that :func:`to_ours` set aside.

    Raises:
        UserError: keys are missing or left over.
    """
    theirs = reshaped(state, _PATCHES, lambda weight: weight.unsqueeze(2))
    return rename(theirs, inverse(vision_names(config) | text_names(config))) | dict(unused or {})


def load(state: Mapping[str, Tensor], config: InternVideo2Config) -> InternVideo2Reward:
    """The frozen reward of an InternVideo2 state dict, without a tokenizer.

    Raises:
        UserError: keys are missing or left over, or a tensor has another shape.
    """
    ours, _ = to_ours(state, config)
    return filled(lambda: InternVideo2Reward(config), ours).requires_grad_(False).eval()


def _with_bias(modules: Mapping[str, str]) -> Names:
    return {f"{old}.{kind}": f"{new}.{kind}" for old, new in modules.items() for kind in ("weight", "bias")}


def _is_unused(name: str, text_layers: int) -> bool:
    """Whether only pre-training or matching uses a tensor; the layers of BERT beyond ours look at the video."""
    layer = _LAYER.fullmatch(name)
    return (layer is not None and int(layer[1]) >= text_layers) or _UNUSED.fullmatch(name) is not None
