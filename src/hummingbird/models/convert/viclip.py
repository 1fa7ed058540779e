"""ViCLIP's checkpoint (the dictionary under its key ``model``) <-> our ``VideoTextReward``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hummingbird.models.convert.clip_layers import join_projections, layer_names, split_projections, text_names
from hummingbird.models.convert.mapping import (
    Names,
    filled,
    inverse,
    rename,
    reshaped,
    split_unused,
    transpose,
)
from hummingbird.models.rewards.video_text import VideoTextConfig, VideoTextReward

_UNUSED = "temp"  # the softmax temperature of training: scores are plain cosines
_TRANSPOSED = ("vision_model.projection.weight", "text_model.text_projection.weight")
_PATCHES = ("vision_model.patch_embedding.weight",)  # theirs has an axis of length 1 for time
_TIMES = ("vision_model.temporal_embedding",)  # theirs has an axis of length 1 for the batch


def names(config: VideoTextConfig) -> Names:
    """ViCLIP's names -> ours (projections still joined)."""
    vision, ours = "vision_encoder.", "vision_model."
    pairs = {
        f"{vision}class_embedding": f"{ours}class_embedding",
        f"{vision}positional_embedding": f"{ours}position_embedding",
        f"{vision}temporal_positional_embedding": f"{ours}temporal_embedding",
        f"{vision}conv1.weight": f"{ours}patch_embedding.weight",
        f"{vision}proj": f"{ours}projection.weight",
    }
    for kind in ("weight", "bias"):
        pairs[f"{vision}ln_pre.{kind}"] = f"{ours}pre_layernorm.{kind}"
        pairs[f"{vision}ln_post.{kind}"] = f"{ours}post_layernorm.{kind}"
    text = "text_model.text_projection.weight"
    return (
        pairs
        | layer_names(f"{vision}transformer.", f"{ours}encoder.", config.vision_config.num_hidden_layers)
        | text_names("text_encoder.", "text_model.text_model.", text, config.text_config.num_hidden_layers)
    )


def to_ours(state: Mapping[str, Tensor], config: VideoTextConfig) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """ViCLIP's state dict -> ours, and the tensors that a reward does not use (under their own names).

    Raises:
        UserError: keys are missing or left over.
    """
    used, unused = split_unused(state, lambda name: name == _UNUSED)
    ours = reshaped(split_projections(rename(used, names(config))), _TRANSPOSED, transpose)
    ours = reshaped(ours, _PATCHES, lambda weight: weight.squeeze(2))
    return reshaped(ours, _TIMES, lambda table: table.squeeze(0)), unused


def to_public(
    state: Mapping[str, Tensor], config: VideoTextConfig, unused: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Our state dict -> ViCLIP's, with the ``unused`` tensors that :func:`to_ours` set aside.

    Raises:
        UserError: keys are missing or left over.
    """
    theirs = reshaped(state, _TRANSPOSED, transpose)
    theirs = reshaped(theirs, _PATCHES, lambda weight: weight.unsqueeze(2))
    theirs = reshaped(theirs, _TIMES, lambda table: table.unsqueeze(0))
    return rename(join_projections(theirs), inverse(names(config))) | dict(unused or {})


def load(state: Mapping[str, Tensor], config: VideoTextConfig) -> VideoTextReward:
    """The frozen reward of a ViCLIP state dict, without a tokenizer.

    Raises:
        UserError: keys are missing or left over, or a tensor has another shape.
    """
    ours, _ = to_ours(state, config)
    return filled(lambda: VideoTextReward(config), ours).requires_grad_(False).eval()
