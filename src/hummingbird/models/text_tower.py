"""OpenCLIP's text transformer on transformers' CLIP text model, and the part of it that conditions a denoiser."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection


class OpenClipTextTower(CLIPTextModelWithProjection):
    """The whole text half of an OpenCLIP model, with the logit scale that its checkpoints carry.

    A denoiser reads less of it: see :func:`conditioning_tower`.

    Args:
        config: transformers' configuration; ``has_logit_scale`` (true where absent) says whether there is one.
    """

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__(config)
        has_scale = getattr(config, "has_logit_scale", True)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07))) if has_scale else None


def text_config(
    *, width: int = 1024, heads: int = 16, layers: int = 24, vocab: int = 49408, context: int = 77, **more: Any
) -> CLIPTextConfig:
    """OpenCLIP's text transformer: exact GELU, MLP of four widths. The defaults are those of ViT-H-14."""
    return CLIPTextConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=context,
        hidden_act="gelu",
        bos_token_id=vocab - 2,
        eos_token_id=vocab - 1,
        pad_token_id=0,
        **more,
    )


def build_tower(config: CLIPTextConfig) -> OpenClipTextTower:
    """The network without weights, its parameters on the meta device."""
    with init_empty_weights():  # buffers stay real: position ids are in no checkpoint
        return OpenClipTextTower(config)


def conditioning_tower(tower: OpenClipTextTower) -> CLIPTextModel:
    """What VideoCrafter2 reads of the text: all layers but the last, then the final norm.

    The result shares its tensors with ``tower``; its ``last_hidden_state`` is the embedding.
    """
    config = CLIPTextConfig.from_dict(tower.config.to_dict())
    config.num_hidden_layers -= 1
    with init_empty_weights():
        model = CLIPTextModel(config)
    whole = tower.state_dict()
    model.load_state_dict({key: whole[f"text_model.{key}"] for key in model.state_dict()}, assign=True)
    return model.requires_grad_(False).eval()
