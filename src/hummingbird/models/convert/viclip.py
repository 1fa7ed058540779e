"""ViCLIP's checkpoint (the dictionary under its key ``model``) <-> our ``VideoTextReward``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from accelerate import init_empty_weights
from torch import Tensor

from hummingbird.models.convert.clip_layers import layer_renames, text_renames
from hummingbird.models.convert.keymap import KeyMap, Rename, renamed
from hummingbird.models.convert.loading import load_public
from hummingbird.models.rewards.video_text import VideoTextConfig, VideoTextReward

_UNUSED = re.compile("temp")  # the softmax temperature of training: scores are plain cosines


def key_map(config: VideoTextConfig) -> KeyMap:
    """ViCLIP's and our names of all tensors. Its patches have an axis for time, its temporal positions one for the
    batch."""
    vision, ours = "vision_encoder.", "vision_model."
    text_layers, vision_layers = (it.num_hidden_layers for it in (config.text_config, config.vision_config))
    renames = [
        Rename(f"{vision}class_embedding", (f"{ours}class_embedding",)),
        Rename(f"{vision}positional_embedding", (f"{ours}position_embedding",)),
        Rename(f"{vision}temporal_positional_embedding", (f"{ours}temporal_embedding",), axes=(0,)),
        Rename(f"{vision}conv1.weight", (f"{ours}patch_embedding.weight",), axes=(2,)),
        Rename(f"{vision}proj", (f"{ours}projection.weight",), transposed=True),
        *renamed({f"{vision}ln_pre": f"{ours}pre_layernorm", f"{vision}ln_post": f"{ours}post_layernorm"}),
        *layer_renames(f"{vision}transformer.", f"{ours}encoder.", vision_layers),
        *text_renames("text_encoder.", "text_model.text_model.", "text_model.text_projection.weight", text_layers),
    ]
    return KeyMap("this ViCLIP", renames, unused=_UNUSED)


def load(state: Mapping[str, Tensor], config: VideoTextConfig, dtype: torch.dtype | None = None) -> VideoTextReward:
    """The frozen reward of a ViCLIP state dict, without a tokenizer.

    Raises:
        UserError: see :func:`~hummingbird.models.convert.loading.load_public`.
    """
    with init_empty_weights():
        network = VideoTextReward(config)
    return load_public(network, key_map(config), state, dtype).requires_grad_(False).eval()
