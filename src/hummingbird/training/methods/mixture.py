"""The mixture of rewards of decoded predictions: which frames each reward sees, and what that costs in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hummingbird.models.vae import decode_checkpointed, decode_video

Figures = dict[str, Tensor]
_FRAMES = 0  # stream of the choice of frames


class Reward(Protocol):
    """A frozen scorer, differentiable in the pictures."""

    def score(self, pictures: Tensor, prompts: list[str]) -> Tensor: ...


@dataclass(frozen=True)
class SeenFrames:
    """Numbers of the frames that the rewards see: ``image`` [B, k], others of each clip, and ``video`` [n], the same
    of all."""

    image: NDArray[np.int64]
    video: NDArray[np.int64]


def step_generator(stream: int) -> np.random.Generator:
    """A generator of Python numbers that follows from the seed of the training step and takes nothing from torch's;
    ``stream`` keeps apart what is drawn for different purposes."""
    return np.random.default_rng([torch.initial_seed(), stream])


def strided_frames(frames: int, count: int, rng: np.random.Generator) -> slice:
    """Which ``count`` of ``frames`` a video reward sees: every skip-th from a random start in [0, skip), where
    ``skip = frames // count`` (T2V-Turbo); all where there are no more. Nothing is drawn where skip is 1."""
    skip = max(1, frames // count)
    start = int(rng.integers(skip)) if skip > 1 else 0
    return slice(start, min(frames, start + skip * count), skip)


@dataclass(frozen=True)
class RewardMixture:
    """An image-text and a video-text reward with their weights.

    Args:
        image: takes frames [N, 3, H, W] in [0, 1]; None leaves it out.
        video: takes clips [B, T, 3, H, W] in [0, 1]; None leaves it out.
        image_frames: random frames of each clip that the image reward sees.
        video_frames: evenly strided frames that the video reward sees.
    """

    image: Reward | None
    video: Reward | None
    image_weight: float
    video_weight: float
    image_frames: int
    video_frames: int = 8

    def __call__(self, video: Tensor, prompts: list[str]) -> tuple[Tensor, Figures]:
        """Negative weighted mean score of frames drawn from clips [B, T, 3, H, W], and the two means."""
        batch, frames = video.shape[:2]
        picks = torch.rand(batch, frames).argsort(dim=1)[:, : self.image_frames].to(video.device)
        images = video[torch.arange(batch, device=video.device)[:, None], picks]
        strided = strided_frames(frames, self.video_frames, step_generator(_FRAMES))
        return self.grade(images, video[:, strided], prompts)

    def choose(self, batch: int, frames: int) -> SeenFrames:
        """Draw the frames before they are decoded; a reward that is left out sees none."""
        rng = step_generator(_FRAMES)
        images = min(frames, self.image_frames) if self.image is not None else 0
        image = np.stack([rng.permutation(frames)[:images] for _ in range(batch)])
        video = np.arange(frames if self.video is not None else 0)
        return SeenFrames(image, video[strided_frames(frames, self.video_frames, rng)])

    def grade(self, images: Tensor, clips: Tensor, prompts: list[str]) -> tuple[Tensor, Figures]:
        """Negative weighted mean score of frames [B, k, 3, H, W] and clips [B, n, 3, H, W], and the two means."""
        loss, figures = images.new_zeros(()), {}
        if self.image is not None:
            # Frames are ordered (clip, frame): each prompt is repeated in place, not the list as a whole.
            repeated = [prompt for prompt in prompts for _ in range(images.shape[1])]
            mean = self.image.score(images.flatten(0, 1), repeated).mean()
            loss, figures["image_reward"] = loss - self.image_weight * mean, mean.detach()
        if self.video is not None:
            mean = self.video.score(clips, prompts).mean()
            loss, figures["video_reward"] = loss - self.video_weight * mean, mean.detach()
        return loss, figures

    @torch.no_grad()
    def scores(self, video: Tensor, prompts: list[str]) -> Figures:
        """Each reward [B] of clips [B, T, 3, H, W] and their weighted mean ``score`` [B], for measuring: of evenly
        spaced frames, the same every time, as they are."""
        frames = np.linspace(0, video.shape[1] - 1, min(video.shape[1], self.image_frames)).round().astype(int).tolist()
        found: Figures = {}
        weighted, weights = video.new_zeros(len(video)), 0.0
        if self.image is not None:
            repeated = [prompt for prompt in prompts for _ in frames]
            found["image_reward"] = (
                self.image.score(video[:, frames].flatten(0, 1), repeated).view(len(video), -1).mean(1)
            )
            weighted, weights = weighted + self.image_weight * found["image_reward"], weights + self.image_weight
        if self.video is not None:
            found["video_reward"] = self.video.score(video, prompts)
            weighted, weights = weighted + self.video_weight * found["video_reward"], weights + self.video_weight
        return {**found, "score": weighted / weights}


@dataclass(frozen=True)
class DecodedRewards:
    """The mixture's loss of latents.

    Args:
        chunk: frames decoded at a time. Only those that some reward sees are, once each, and what the decoder computed
            is not kept for the backward pass but computed again. None decodes whole clips and keeps everything, as is
            always done where the decoder looks at neighbouring frames.
    """

    vae: AutoencoderKL
    mixture: RewardMixture
    chunk: int | None = None

    def __call__(self, latents: Tensor, prompts: list[str]) -> tuple[Tensor, Figures]:
        """Loss of latents [B, C, T, h, w], and the mean rewards."""
        batch, frames = latents.shape[0], latents.shape[2]
        if self.chunk is None or self.vae.config.get("temporal"):
            pixels = decode_video(self.vae, latents).float().flatten(0, 1)
            pictures = augment(pixels, np.repeat(np.arange(batch), frames))
            return self.mixture(pictures.unflatten(0, (batch, frames)), prompts)
        seen = self.mixture.choose(batch, frames)
        first = frames * np.arange(batch)[:, None]
        image, video = first + seen.image, first + seen.video
        needed = np.unique(np.concatenate([image, video], axis=1))
        if not len(needed):
            return latents.new_zeros(()), {}
        flat = _take(latents.transpose(1, 2).flatten(0, 1), needed)
        pixels = (decode_checkpointed(self.vae, flat, self.chunk).float() / 2 + 0.5).clamp(0, 1)
        pictures = augment(pixels, needed // frames)
        images, clips = (_take(pictures, np.searchsorted(needed, numbers)) for numbers in (image, video))
        return self.mixture.grade(images, clips, prompts)


def augment(frames: Tensor, owners: NDArray[np.int64], *, crop: float = 0.12, noise: float = 0.03) -> Tensor:
    """A random crop of each clip, resized back, and a little noise.

    A reward that is seen only at one registration can be raised by invisible patterns; this denies it that.

    Args:
        frames: [N, 3, H, W] in [0, 1].
        owners: number of the clip that each frame belongs to, [N], ascending; all its frames get the same crop.
    """
    clips = int(owners[-1]) + 1
    scale = 1 - crop * torch.rand(clips)
    shift = (1 - scale)[:, None] * (2 * torch.rand(clips, 2) - 1)
    theta = torch.zeros(clips, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    grid = F.affine_grid(_take(theta, owners).to(frames), list(frames.shape), align_corners=False)
    moved = F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
    return (moved + noise * torch.randn_like(moved)).clamp(0, 1)


def _take(tensor: Tensor, numbers: NDArray[np.int64]) -> Tensor:
    """Rows of ``tensor`` by number, in the shape of ``numbers``."""
    return tensor[torch.tensor(numbers.tolist(), dtype=torch.long, device=tensor.device)]
