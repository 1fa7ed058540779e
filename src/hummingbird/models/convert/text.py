"""OpenCLIP's text transformer under its public names (``cond_stage_model.model.``) <-> transformers' CLIP names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hummingbird.models.convert.keymap import Form, KeyMap, Rename
from hummingbird.models.text_tower import OpenClipTextTower

_LAYER = {  # ours -> public, in a layer
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_TOP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
    "logit_scale": "logit_scale",
}


def key_map(tower: OpenClipTextTower) -> KeyMap:
    """Public and our names of all tensors of ``tower`` (whose parameters may be on the meta device)."""
    length = tower.config.max_position_embeddings
    derived: dict[str, Callable[[], Tensor]] = {"attn_mask": lambda: torch.full((length, length), -torch.inf).triu(1)}
    return KeyMap("this text tower", list(_renames(tower)), derived)


def _renames(tower: OpenClipTextTower) -> Iterator[Rename]:
    for key in tower.state_dict():
        if key in _TOP:
            form: Form = "transposed" if key == "text_projection.weight" else "same"
            yield Rename(_TOP[key], (key,), form)
            continue
        match = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
        assert match, key  # transformers' names
        layer, part, kind = match.groups()
        if part in _LAYER:
            yield Rename(f"transformer.resblocks.{layer}.{_LAYER[part]}.{kind}", (key,))
        elif part == "self_attn.q_proj":  # the public projection is one matrix: queries, keys, values
            ours = tuple(key.replace("q_proj", f"{name}_proj") for name in "qkv")
            yield Rename(f"transformer.resblocks.{layer}.attn.in_proj_{kind}", ours, "stacked")
