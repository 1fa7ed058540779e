"""What all video-text rewards share: which frames are seen, the cosine, and the tokenizer saved beside the model."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hummingbird.models.rewards.preprocess import pick_frames, prepare_frames


class VideoReward(PreTrainedModel):
    """How well clips match their prompts. Frozen when loaded; the score is the plain cosine.

    A subclass gives its two towers, and has a configuration with ``num_frames``, ``image_mean``, ``image_std`` and
    ``fit`` (see :func:`~hummingbird.models.rewards.preprocess.prepare_frames`).
    """

    tokenizer_type: ClassVar[type[PreTrainedTokenizerBase]]

    def __init__(self, config: Any, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        super().__init__(config)
        self.tokenizer = tokenizer

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Edge, in pixels, of the frames that the vision tower takes."""

    @abstractmethod
    def encode_frames(self, video: Tensor, keep: Tensor | None = None) -> Tensor:
        """Features [B, D], not normalised, of prepared clips [B, T, 3, S, S]; ``keep``: see :meth:`encode_video`."""

    @abstractmethod
    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """Text features [B, D], not normalised."""

    @classmethod
    def from_pretrained(cls, folder: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Load ``save_pretrained``'s folder: the model and its tokenizer side by side."""
        model = super().from_pretrained(folder, *args, **{"dtype": torch.float32, **kwargs})
        model.tokenizer = cls.tokenizer_type.from_pretrained(folder)
        return model.requires_grad_(False).eval()

    def save_pretrained(self, folder: str | Path, *args: Any, **kwargs: Any) -> None:
        super().save_pretrained(folder, *args, **kwargs)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def score(self, video: Tensor, prompts: list[str], start: int = 0) -> Tensor:
        """Cosine [B] of each clip [B, T, 3, H, W] in [0, 1] with its prompt; differentiable in ``video``.

        ``start``: see :meth:`encode_video`.

        Raises:
            ValueError: the numbers of clips and prompts differ, or the clips are too short or not RGB.
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

        Of a longer clip, frames are picked from ``start`` on (:func:`~hummingbird.models.rewards.preprocess.
        pick_frames`); a tower that is trained with masked patches looks at those of ``keep`` only.
        """
        video = pick_frames(video, self.config.num_frames, start)
        mean, std, fit = self.config.image_mean, self.config.image_std, self.config.fit
        frames = prepare_frames(video.flatten(0, 1), self.image_size, mean, std, fit).to(self.dtype)
        return F.normalize(self.encode_frames(frames.unflatten(0, video.shape[:2]), keep).float(), dim=-1)

    def text_features(self, prompts: list[str]) -> Tensor:
        """Unit text features [B, D] with gradient: for training the reward itself."""
        if self.tokenizer is None:
            raise ValueError("this reward was built without a tokenizer")
        return F.normalize(self.encode_prompts(prompts).float(), dim=-1)
