"""Configurations of the reward models, from what the JSON of their golden files says of the originals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import BertConfig, CLIPConfig

from hummingbird.models.rewards.internvideo2 import InternVideo2Config
from hummingbird.models.rewards.video_text import VideoTextConfig


def clip_config(about: Mapping[str, Any]) -> CLIPConfig:
    """Of OpenCLIP's whole CLIP."""
    act = "quick_gelu" if about["quick_gelu"] else "gelu"
    vision, text = about["vision_cfg"], about["text_cfg"]
    return CLIPConfig(
        vision_config=_tower(vision, act, about["embed_dim"], about["layer_norm_eps"])
        | {"image_size": vision["image_size"], "patch_size": vision["patch_size"]},
        text_config=_tower(text, act, about["embed_dim"], about["layer_norm_eps"])
        | _vocabulary(text, about["sot_token"], about["eot_token"]),
        projection_dim=about["embed_dim"],
    )


def viclip_config(about: Mapping[str, Any]) -> VideoTextConfig:
    vision, text = about["vision"], about["text"]
    out, eps = text["embed_dim"], about["layer_norm_eps"]
    return VideoTextConfig(
        vision_config=_tower(vision, "quick_gelu", out, eps)
        | {"image_size": vision["input_resolution"], "patch_size": vision["patch_size"]},
        text_config=_tower(text, "quick_gelu", out, eps) | _vocabulary(text, text["sot"], text["eot"]),
        projection_dim=out,
        num_frames=vision["num_frames"],
        fit="round",
    )


def internvideo2_config(about: Mapping[str, Any], activation: str) -> InternVideo2Config:
    """Of the vision tower, with a text tower that is as small as can be.

    ``num_frames`` becomes twice that of the position table, so that both lengths of the golden clips are taken.
    """
    tiny = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return InternVideo2Config(
        text_config=BertConfig(**tiny),
        image_size=about["img_size"],
        patch_size=about["patch_size"],
        hidden_size=about["embed_dim"],
        num_hidden_layers=about["depth"],
        num_attention_heads=about["num_heads"],
        intermediate_size=about["mlp_hidden"],
        hidden_act=activation,
        rms_norm_eps=about["rms_eps"],
        layer_norm_eps=about["pool_layernorm_eps"],
        pool_heads=about["attn_pool_num_heads"],
        pool_dim=about["clip_embed_dim"],
        projection_dim=about["vision_proj"],
        trained_frames=about["num_frames"],
        num_frames=2 * about["num_frames"],
    )


def internvideo2_text_config(about: Mapping[str, Any]) -> InternVideo2Config:
    """Of the text tower, with a vision tower that is as small as can be."""
    return InternVideo2Config(
        text_config=BertConfig(
            vocab_size=about["vocab_size"],
            hidden_size=about["hidden_size"],
            intermediate_size=about["intermediate_size"],
            num_hidden_layers=about["layers_run_fusion_layer"],
            num_attention_heads=about["num_attention_heads"],
            max_position_embeddings=about["max_position_embeddings"],
            layer_norm_eps=about["layer_norm_eps"],
        ),
        image_size=2,
        patch_size=2,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        pool_heads=1,
        pool_dim=8,
        projection_dim=about["text_proj"],
    )


def _tower(about: Mapping[str, Any], act: str, out: int, eps: float) -> dict[str, Any]:
    return {
        "hidden_size": about["width"],
        "intermediate_size": int(about["width"] * about.get("mlp_ratio", 4)),
        "num_hidden_layers": about["layers"],
        "num_attention_heads": about["heads"],
        "hidden_act": act,
        "layer_norm_eps": eps,
        "projection_dim": out,
    }


def _vocabulary(text: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    ids = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    return {"vocab_size": text["vocab_size"], "max_position_embeddings": text["context_length"], **ids}
