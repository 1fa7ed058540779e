"""OpenCLIP's text transformer under its public names (``cond_stage_model.model.``) <-> transformers' CLIP names."""

from __future__ import annotations

import torch

from hummingbird.models.convert.clip_layers import text_renames
from hummingbird.models.convert.keymap import KeyMap, Rename
from hummingbird.models.text_tower import OpenClipTextTower


def key_map(tower: OpenClipTextTower) -> KeyMap:
    """Public and our names of all tensors of ``tower`` (whose parameters may be on the meta device)."""
    layers, length = tower.config.num_hidden_layers, tower.config.max_position_embeddings
    renames = list(text_renames("", "text_model.", "text_projection.weight", layers))
    if tower.logit_scale is not None:
        renames.append(Rename("logit_scale", ("logit_scale",)))
    mask = {"attn_mask": lambda: torch.full((length, length), -torch.inf).triu(1)}
    return KeyMap("this text tower", renames, mask)
