"""The transformer layers of OpenAI's and OpenCLIP's code <-> those of transformers' CLIP.

The original holds the projections to queries, keys and values as one matrix, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hummingbird.models.convert.mapping import Names

_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_JOINED = ".self_attn.in_proj_"
_PARTS = ("q_proj", "k_proj", "v_proj")


def layer_names(theirs: str, ours: str, layers: int) -> Names:
    """``{theirs}resblocks.N...`` -> ``{ours}layers.N...``; joined projections keep their name until
    :func:`split_projections`."""
    names: Names = {}
    for index in range(layers):
        old, new = f"{theirs}resblocks.{index}", f"{ours}layers.{index}"
        for kind in ("weight", "bias"):
            names |= {f"{old}.{part}.{kind}": f"{new}.{as_}.{kind}" for part, as_ in _LAYER.items()}
            names[f"{old}.attn.in_proj_{kind}"] = f"{new}{_JOINED}{kind}"
    return names


def text_names(theirs: str, ours: str, projection: str, layers: int) -> Names:
    """The text tower: ``ours`` is the prefix of the tower without its projection."""
    pairs = {f"{theirs}ln_final.{kind}": f"{ours}final_layer_norm.{kind}" for kind in ("weight", "bias")}
    return (
        pairs
        | {
            f"{theirs}positional_embedding": f"{ours}embeddings.position_embedding.weight",
            f"{theirs}token_embedding.weight": f"{ours}embeddings.token_embedding.weight",
            f"{theirs}text_projection": projection,
        }
        | layer_names(f"{theirs}transformer.", f"{ours}encoder.", layers)
    )


def split_projections(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each joined projection as three; everything else as it is."""
    split: dict[str, Tensor] = {}
    for name, tensor in state.items():
        layer, joined, kind = name.partition(_JOINED)
        if not joined:
            split[name] = tensor
            continue
        # copies: three tensors that share one storage cannot be saved as they are
        thirds = (third.clone() for third in tensor.tensor_split(3))
        split |= {f"{layer}.self_attn.{part}.{kind}": third for part, third in zip(_PARTS, thirds, strict=True)}
    return split


def join_projections(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back of :func:`split_projections`. A layer that lacks one of the three stays as it is."""
    joined = dict(state)
    for name in state:
        layer, found, kind = name.partition(".self_attn.q_proj.")
        parts = [f"{layer}.self_attn.{part}.{kind}" for part in _PARTS]
        if found and all(part in state for part in parts):
            joined[f"{layer}{_JOINED}{kind}"] = torch.cat([joined.pop(part) for part in parts])
    return joined
