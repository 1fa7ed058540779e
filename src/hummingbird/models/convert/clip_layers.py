"""The transformer layers of OpenAI's and OpenCLIP's code <-> those of transformers' CLIP.

The original holds the projections to queries, keys and values as one matrix, in this order.
"""

from __future__ import annotations

from collections.abc import Iterator

from hummingbird.models.convert.keymap import Rename, renamed

_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def layer_renames(theirs: str, ours: str, layers: int) -> Iterator[Rename]:
    """``{theirs}resblocks.N...`` <-> ``{ours}layers.N...``."""
    for index in range(layers):
        old, new = f"{theirs}resblocks.{index}", f"{ours}layers.{index}"
        yield from renamed({f"{old}.{part}": f"{new}.{name}" for part, name in _LAYER.items()})
        for kind in ("weight", "bias"):
            parts = tuple(f"{new}.self_attn.{part}_proj.{kind}" for part in "qkv")
            yield Rename(f"{old}.attn.in_proj_{kind}", parts)


def text_renames(theirs: str, ours: str, projection: str, layers: int) -> Iterator[Rename]:
    """The text tower: ``ours`` is the prefix of the tower without its ``projection``."""
    yield from renamed({f"{theirs}ln_final": f"{ours}final_layer_norm"})
    yield from renamed({f"{theirs}token_embedding": f"{ours}embeddings.token_embedding"}, ["weight"])
    yield Rename(f"{theirs}positional_embedding", (f"{ours}embeddings.position_embedding.weight",))
    yield Rename(f"{theirs}text_projection", (projection,), transposed=True)
    yield from layer_renames(f"{theirs}transformer.", f"{ours}encoder.", layers)
