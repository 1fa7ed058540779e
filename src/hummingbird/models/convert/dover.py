"""DOVER and DOVER-Mobile under their public names, which are ours; the index tables of window attention are derived."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from hummingbird.models.convert.keymap import KeyMap, Rename
from hummingbird.models.dover.model import Dover
from hummingbird.models.dover.swin import WindowAttention, relative_index

_FEMTO = {
    "kind": "convnext",
    "version": 2,
    "dims": (48, 96, 192, 384),
    "depths": (2, 2, 6, 2),
    "num_classes": 1000,
}
#: Arguments of :class:`Dover` for the two published checkpoints.
PUBLISHED: dict[str, dict[str, Any]] = {
    "dover": {"technical": {"kind": "swin"}, "aesthetic": {"kind": "convnext"}, "head_hidden": 64},
    "dover-mobile": {"technical": _FEMTO, "aesthetic": _FEMTO, "head_hidden": 32},
}


def build_dover(config: dict[str, Any]) -> Dover:
    """The network without weights, on the meta device."""
    with torch.device("meta"):
        return Dover(**config)


def key_map(dover: Dover) -> KeyMap:
    """Public and our names of all tensors of ``dover`` (which may be on the meta device)."""
    derived = {
        f"{name}.relative_position_index": partial(relative_index, module.window, module.window)
        for name, module in dover.named_modules()
        if isinstance(module, WindowAttention)
    }
    return KeyMap("this DOVER", [Rename(key, (key,)) for key in dover.state_dict()], derived)
