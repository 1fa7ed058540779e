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

    Args:
        clip: its configuration may have a ``fit`` (see :data:`~hummingbird.models.rewards.preprocess.FITS`), which is
            saved with it; without one, frames are cropped as HPSv2 crops them.
        tokenizer: None where only token ids are scored.
    """

    def __init__(self, clip: CLIPModel, tokenizer: CLIPTokenizer | None = None) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Load ``save_pretrained``'s folder: a CLIP model and its tokenizer side by side, as on the hub."""
        clip = CLIPModel.from_pretrained(folder, dtype=dtype)
        return cls(clip, CLIPTokenizer.from_pretrained(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        self.clip.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def score(self, frames: Tensor, prompts: list[str]) -> Tensor:
        """Cosine [N] of each frame [N, 3, H, W] in [0, 1] with its prompt; differentiable in ``frames``.

        Raises:
            ValueError: the numbers of frames and prompts differ, or the frames are not RGB.
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
        config = self.clip.config
        size, fit = config.vision_config.image_size, getattr(config, "fit", "truncate")
        pixels = prepare_frames(frames, size, CLIP_MEAN, CLIP_STD, fit).to(self.clip.dtype)
        return F.normalize(self.clip.get_image_features(pixel_values=pixels).pooler_output.float(), dim=-1)

    def text_features(self, prompts: list[str]) -> Tensor:
        """Unit text features [N, D] with gradient: for training the reward itself."""
        if self.tokenizer is None:
            raise ValueError("this reward was built without a tokenizer")
        return self.token_features(token_ids(self.tokenizer, prompts, self._text_length).to(self.clip.device))

    def token_features(self, ids: Tensor) -> Tensor:
        """Unit text features [N, D] of token ids [N, L], each row with an end of text."""
        return F.normalize(self.clip.get_text_features(input_ids=ids).pooler_output.float(), dim=-1)

    @property
    def _text_length(self) -> int:
        return int(self.clip.config.text_config.max_position_embeddings)
