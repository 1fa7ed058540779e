"""OpenCLIP's whole CLIP (HPSv2, HPSv2.1, laion2B-s32B-b79K) <-> transformers' ``CLIPModel``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from accelerate import init_empty_weights
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from hummingbird.models.convert.clip_layers import layer_renames, text_renames
from hummingbird.models.convert.keymap import KeyMap, Rename, renamed
from hummingbird.models.convert.loading import load_public


def key_map(config: CLIPConfig) -> KeyMap:
    """OpenCLIP's and transformers' names of all tensors."""
    vision = "vision_model."
    text_layers, vision_layers = (it.num_hidden_layers for it in (config.text_config, config.vision_config))
    renames = [
        Rename("logit_scale", ("logit_scale",)),
        Rename("visual.class_embedding", (f"{vision}embeddings.class_embedding",)),
        Rename("visual.positional_embedding", (f"{vision}embeddings.position_embedding.weight",)),
        Rename("visual.conv1.weight", (f"{vision}embeddings.patch_embedding.weight",)),
        Rename("visual.proj", ("visual_projection.weight",), transposed=True),
        *renamed({"visual.ln_pre": f"{vision}pre_layrnorm"}),  # transformers spells it so
        *renamed({"visual.ln_post": f"{vision}post_layernorm"}),
        *layer_renames("visual.transformer.", f"{vision}encoder.", vision_layers),
        *text_renames("", "text_model.", "text_projection.weight", text_layers),
    ]
    return KeyMap("this CLIP", renames)


def load(state: Mapping[str, Tensor], config: CLIPConfig, dtype: torch.dtype | None = None) -> CLIPModel:
    """The CLIP model of an OpenCLIP state dict.

    Raises:
        UserError: see :func:`~hummingbird.models.convert.loading.load_public`.
    """
    return load_public(_empty(config), key_map(config), state, dtype)


def load_transformers(state: Mapping[str, Tensor], config: CLIPConfig, dtype: torch.dtype | None = None) -> CLIPModel:
    """The CLIP model of a state dict that is in transformers' form already (PickScore). Files of older versions also
    hold the numbers of the positions, which are not read.

    Raises:
        UserError: see :func:`~hummingbird.models.convert.loading.load_public`.
    """
    network = _empty(config)
    renames = [Rename(name, (name,)) for name in network.state_dict()]
    names = KeyMap("this CLIP", renames, unused=re.compile(r"(text|vision)_model\.embeddings\.position_ids"))
    return load_public(network, names, state, dtype)


def _empty(config: CLIPConfig) -> CLIPModel:
    with init_empty_weights():
        return CLIPModel(config)
