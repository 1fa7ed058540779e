"""OpenCLIP's whole CLIP (HPSv2, HPSv2.1, laion2B-s32B-b79K) <-> transformers' ``CLIPModel``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from hummingbird.models.convert.clip_layers import join_projections, layer_names, split_projections, text_names
from hummingbird.models.convert.mapping import Names, filled, inverse, rename, reshaped, transpose

_TRANSPOSED = ("visual_projection.weight", "text_projection.weight")


def names(config: CLIPConfig) -> Names:
    """OpenCLIP's names -> transformers' (projections still joined)."""
    vision = "vision_model."
    pairs = {
        "logit_scale": "logit_scale",
        "visual.class_embedding": f"{vision}embeddings.class_embedding",
        "visual.positional_embedding": f"{vision}embeddings.position_embedding.weight",
        "visual.conv1.weight": f"{vision}embeddings.patch_embedding.weight",
        "visual.proj": "visual_projection.weight",
    }
    for kind in ("weight", "bias"):
        pairs[f"visual.ln_pre.{kind}"] = f"{vision}pre_layrnorm.{kind}"  # transformers spells it so
        pairs[f"visual.ln_post.{kind}"] = f"{vision}post_layernorm.{kind}"
    return (
        pairs
        | layer_names("visual.transformer.", f"{vision}encoder.", config.vision_config.num_hidden_layers)
        | text_names("", "text_model.", "text_projection.weight", config.text_config.num_hidden_layers)
    )


def to_ours(state: Mapping[str, Tensor], config: CLIPConfig) -> dict[str, Tensor]:
    """OpenCLIP's state dict -> ``CLIPModel``'s. A leading ``module.`` of all keys is dropped.

    Raises:
        UserError: keys are missing or left over.
    """
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return reshaped(split_projections(rename(state, names(config))), _TRANSPOSED, transpose)


def to_public(state: Mapping[str, Tensor], config: CLIPConfig) -> dict[str, Tensor]:
    """``CLIPModel``'s state dict -> OpenCLIP's.

    Raises:
        UserError: keys are missing or left over.
    """
    return rename(join_projections(reshaped(state, _TRANSPOSED, transpose)), inverse(names(config)))


def load(state: Mapping[str, Tensor], config: CLIPConfig) -> CLIPModel:
    """The CLIP model of an OpenCLIP state dict.

    Raises:
        UserError: keys are missing or left over, or a tensor has another shape.
    """
    return filled(lambda: CLIPModel(config), to_ours(state, config))


def load_transformers(state: Mapping[str, Tensor], config: CLIPConfig) -> CLIPModel:
    """The CLIP model of a state dict that is in transformers' form already (PickScore). Files of older versions also
    hold the numbers of the positions, which are dropped.

    Raises:
        UserError: keys are missing or left over, or a tensor has another shape.
    """
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(".embeddings.position_ids")}
    return filled(lambda: CLIPModel(config), kept)
