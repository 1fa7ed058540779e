"""Video-text reward: a ViCLIP-style tower over space and time beside a CLIP text tower.

The vision tower: a 2-D patch convolution per frame; learned spatial positions for every frame and learned temporal
positions for every patch of a frame; ONE class token for the whole clip; pre-norm transformer blocks with full joint
space-time attention; the normalised class token is projected (ViCLIP, InternVid, arXiv:2307.06942).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPPreTrainedModel

from hummingbird.models.rewards.preprocess import IMAGENET_MEAN, IMAGENET_STD, prepare_frames, token_ids


class VideoTextConfig(CLIPConfig):
    """A CLIP configuration with a number of frames; the defaults are ViCLIP-L's where CLIP's differ."""

    model_type = "video_text_reward"

    num_frames: int = 8
    image_mean: tuple[float, ...] = IMAGENET_MEAN
    image_std: tuple[float, ...] = IMAGENET_STD


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
        hidden = self.pre_layernorm(torch.cat([whole, tokens], dim=1))
        hidden = self.encoder(inputs_embeds=hidden).last_hidden_state
        return self.projection(self.post_layernorm(hidden[:, 0]))


class VideoTextReward(CLIPPreTrainedModel):
    """How well clips match their prompts. Frozen when loaded; the score is the plain cosine."""

    config_class = VideoTextConfig
    config: VideoTextConfig

    def __init__(self, config: VideoTextConfig, tokenizer: CLIPTokenizer | None = None) -> None:
        super().__init__(config)
        self.tokenizer = tokenizer
        config.text_config.projection_dim = config.projection_dim
        config.vision_config._attn_implementation = config._attn_implementation
        self.text_model = CLIPTextModelWithProjection._from_config(config.text_config)
        self.vision_model = VideoTower(config.vision_config, config.num_frames, config.projection_dim)
        self.post_init()

    @classmethod
    def from_pretrained(cls, folder: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Load ``save_pretrained``'s folder: the model and its tokenizer side by side."""
        model = super().from_pretrained(folder, *args, **{"dtype": torch.float32, **kwargs})
        model.tokenizer = CLIPTokenizer.from_pretrained(folder)
        return model.requires_grad_(False).eval()

    def save_pretrained(self, folder: str | Path, *args: Any, **kwargs: Any) -> None:
        super().save_pretrained(folder, *args, **kwargs)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def score(self, video: Tensor, prompts: list[str], start: int = 0) -> Tensor:
        """Cosine [B] of each clip [B, T, 3, H, W] in [0, 1] with its prompt; differentiable in ``video``.

        ``start``: see :meth:`encode_video`.

        Raises:
            ValueError: the numbers of clips and prompts differ, or the clips are too short.
        """
        if len(video) != len(prompts):
            raise ValueError(f"{len(video)} clips, but {len(prompts)} prompts")
        return (self.encode_video(video, start) * self.encode_text(prompts)).sum(-1)

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> Tensor:
        """Unit text features [B, D], without gradient."""
        return self.text_features(prompts)

    def encode_video(self, video: Tensor, start: int = 0, keep: Tensor | None = None) -> Tensor:
        """Unit features [B, D] of clips [B, T, 3, H, W] in [0, 1].

        A longer clip is seen at every ``stride``-th frame from ``start``, where ``stride = T // num_frames``
        (T2V-Turbo draws ``start`` from [0, stride)).
        """
        count = self.config.num_frames
        if video.shape[1] > count:
            stride = video.shape[1] // count
            if not 0 <= start < stride:
                raise ValueError(f"start {start} is outside [0, {stride})")
            video = video[:, start::stride][:, :count]
        size = self.config.vision_config.image_size
        frames = prepare_frames(video.flatten(0, 1), size, self.config.image_mean, self.config.image_std)
        features = self.vision_model(frames.unflatten(0, video.shape[:2]), keep)
        return F.normalize(features, dim=-1)

    def text_features(self, prompts: list[str]) -> Tensor:
        """Unit text features [B, D] with gradient: for training the reward itself."""
        if self.tokenizer is None:
            raise ValueError("this reward was built without a tokenizer")
        ids = token_ids(self.tokenizer, prompts).to(self.device)
        return F.normalize(self.text_model(input_ids=ids).text_embeds, dim=-1)
