"""Image-text reward: the cosine of a CLIP model. HPSv2.1 and PickScore are CLIP ViT-H; the miniature is a small one."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from hummingbird.models.rewards.preprocess import CLIP_MEAN, CLIP_STD, prepare_frames, token_ids


class ImageTextReward(nn.Module):
    """How well single frames match their prompts. Frozen unless :meth:`requires_grad_` says otherwise.

    The score is the plain cosine: the logit scale is left out, as in T2V-Turbo's and Hummingbird's reward losses.
    """

    def __init__(self, clip: CLIPModel, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Load ``save_pretrained``'s folder: a CLIP model and its tokenizer side by side, as on the hub."""
        clip = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        return cls(clip, CLIPTokenizer.from_pretrained(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        self.clip.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def score(self, frames: Tensor, prompts: list[str]) -> Tensor:
        """Cosine [N] of each frame [N, 3, H, W] in [0, 1] with its prompt; differentiable in ``frames``.

        Raises:
            ValueError: the numbers of frames and prompts differ.
        """
        if len(frames) != len(prompts):
            raise ValueError(f"{len(frames)} frames, but {len(prompts)} prompts")
        return (self.encode_image(frames) * self.encode_text(prompts)).sum(-1)

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> Tensor:
        """Unit text features [N, D], without gradient."""
        return self.text_features(prompts)

    def encode_image(self, frames: Tensor) -> Tensor:
        """Unit image features [N, D] of frames [N, 3, H, W] in [0, 1]."""
        size = self.clip.config.vision_config.image_size
        pixels = prepare_frames(frames, size, CLIP_MEAN, CLIP_STD)
        return F.normalize(self.clip.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    def text_features(self, prompts: list[str]) -> Tensor:
        """Unit text features [N, D] with gradient: for training the reward itself."""
        ids = token_ids(self.tokenizer, prompts).to(self.clip.device)
        return F.normalize(self.clip.get_text_features(input_ids=ids).pooler_output, dim=-1)
