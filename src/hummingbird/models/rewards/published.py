"""Configurations of the published reward models, as their checkpoints need them."""

from __future__ import annotations

from transformers import BertConfig, CLIPConfig

from hummingbird.models.rewards.internvideo2 import InternVideo2Config
from hummingbird.models.rewards.video_text import VideoTextConfig


def vit_h14(fit: str = "truncate") -> CLIPConfig:
    """CLIP ViT-H/14 (986,109,441 parameters): HPSv2 and HPSv2.1, PickScore, and laion2B-s32B-b79K.

    ``fit`` is ``truncate`` for HPSv2 and ``squash`` for PickScore and laion2B as T2V-Turbo rewards with them. The
    activation is the exact GELU, where transformers' default for CLIP is the quick one.
    """
    tower = {"hidden_act": "gelu", "projection_dim": 1024, "num_attention_heads": 16}
    return CLIPConfig(
        text_config=tower
        | {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "max_position_embeddings": 77,
            "vocab_size": 49408,
            "bos_token_id": 49406,
            "eos_token_id": 49407,
        },
        vision_config=tower
        | {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "image_size": 224,
            "patch_size": 14,
        },
        projection_dim=1024,
        fit=fit,
    )


def viclip_l() -> VideoTextConfig:
    """ViCLIP-L/14 on 8 frames (427,590,144 parameters and a temperature); texts of at most 32 tokens."""
    return VideoTextConfig(
        text_config={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 32,
            "vocab_size": 49408,
            "bos_token_id": 49406,
            "eos_token_id": 49407,
            "hidden_act": "quick_gelu",
            "projection_dim": 768,
        },
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
            "hidden_act": "quick_gelu",
            "projection_dim": 768,
        },
        projection_dim=768,
        fit="round",
    )


def internvideo2_1b() -> InternVideo2Config:
    """InternVideo2 stage 2, 1B: the vision tower without its heads for distillation (1,019,628,672 parameters, the
    projection apart), and the first 19 of the 24 layers of BERT-large."""
    return InternVideo2Config(
        text_config=BertConfig(
            vocab_size=30522,
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=19,
            num_attention_heads=16,
            max_position_embeddings=512,
        )
    )
