"""Video-text reward: a ViCLIP-style tower over space and time beside a CLIP text tower.

The vision tower: a 2-D patch convolution per frame; learned spatial positions for every frame and learned temporal
positions for every patch of a frame; ONE class token for the whole clip; pre-norm transformer blocks with full joint
space-time attention; the normalised class token is projected (ViCLIP, InternVid, arXiv:2307.06942). ViCLIP-L is such a
network (:func:`~hummingbird.models.rewards.published.viclip_l`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPPreTrainedModel

from hummingbird.models.rewards.preprocess import IMAGENET_MEAN, IMAGENET_STD, token_ids
from hummingbird.models.rewards.video_reward import VideoReward


class VideoTextConfig(CLIPConfig):
    """A CLIP configuration with a number of frames; the defaults are ViCLIP-L's where CLIP's differ."""

    model_type = "video_text_reward"

    num_frames: int = 8
    image_mean: tuple[float, ...] = IMAGENET_MEAN
    image_std: tuple[float, ...] = IMAGENET_STD
    fit: str = "truncate"


class VideoTower(nn.Module):
    """Video [B, T, 3, S, S] (normalised) -> features [B, projection_dim], not normalised. T is ``num_frames`` or 1."""

    def __init__(self, config: CLIPVisionConfig, num_frames: int, projection_dim: int) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        patches = (config.image_size // patch) ** 2
        self.num_frames = num_frames
        # One weight per frame: a (1, p, p) 3-D convolution is a 2-D one, which is far faster on CPU.
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.position_embedding = nn.Parameter(torch.randn(1 + patches, width) * 0.02)
        self.temporal_embedding = nn.Parameter(torch.zeros(num_frames, width))
        self.pre_layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.projection = nn.Linear(width, projection_dim, bias=False)

    def forward(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode; ``keep`` [K] are the indices of the patches to look at (training with masked patches), default all.

        Raises:
            ValueError: the clip has neither 1 nor ``num_frames`` frames.
        """
        hidden = self.pre_layernorm(self.tokens(video, keep))
        hidden = self.encoder(inputs_embeds=hidden).last_hidden_state
        return self.projection(self.post_layernorm(hidden[:, 0]))

    def tokens(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        """What the blocks see, before its norm: [B, 1 + P * T, D], the class token first."""
        batch, frames = video.shape[:2]
        if frames not in (1, self.num_frames):
            raise ValueError(f"a clip of {frames} frames; the tower takes {self.num_frames} or 1")
        patches = self.patch_embedding(video.flatten(0, 1)).flatten(2).transpose(1, 2)  # [B*T, P, D]
        patches = patches + self.position_embedding[1:]
        # Patch outer, time inner, as upstream; attention has no mask, so the order does not change the result.
        tokens = patches.unflatten(0, (batch, frames)).transpose(1, 2)  # [B, P, T, D]
        times = self.temporal_embedding
        tokens = tokens + (times.mean(0, keepdim=True) if frames == 1 else times)
        tokens = tokens.flatten(1, 2)
        if keep is not None:
            tokens = tokens[:, keep]
        whole = (self.class_embedding + self.position_embedding[0]).expand(batch, 1, -1)
        return torch.cat([whole, tokens], dim=1)


class VideoTextReward(VideoReward, CLIPPreTrainedModel):
    """A :class:`VideoTower` beside CLIP's text tower: ViCLIP, or the miniature's reward."""

    config_class = VideoTextConfig
    config: VideoTextConfig
    tokenizer_type = CLIPTokenizer

    def __init__(self, config: VideoTextConfig, tokenizer: CLIPTokenizer | None = None) -> None:
        super().__init__(config, tokenizer)
        config.text_config.projection_dim = config.projection_dim
        config.vision_config._attn_implementation = config._attn_implementation
        self.text_model = CLIPTextModelWithProjection._from_config(config.text_config)
        self.vision_model = VideoTower(config.vision_config, config.num_frames, config.projection_dim)
        self.post_init()

    @property
    def image_size(self) -> int:
        return int(self.config.vision_config.image_size)

    def encode_frames(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        return self.vision_model(video, keep)

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        ids = token_ids(self.tokenizer, prompts, self.config.text_config.max_position_embeddings)
        return self.text_model(input_ids=ids.to(self.device)).text_embeds
