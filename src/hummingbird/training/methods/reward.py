"""Stage 2: mixed reward feedback on the student's decoded one-step prediction, anchored by consistency distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from hummingbird.models.vae import decode_video
from hummingbird.training.methods.consistency import ConsistencyDistillation


class Reward(Protocol):
    """A frozen scorer, differentiable in the pictures."""

    def score(self, pictures: Tensor, prompts: list[str]) -> Tensor: ...


@dataclass(frozen=True)
class RewardMixture:
    """An image-text and a video-text reward with their weights.

    Args:
        image: takes frames [N, 3, H, W] in [0, 1].
        video: takes clips [B, T, 3, H, W] in [0, 1].
        image_frames: random frames of each clip that the image reward sees.
    """

    image: Reward
    video: Reward
    image_weight: float
    video_weight: float
    image_frames: int

    def __call__(self, video: Tensor, prompts: list[str]) -> tuple[Tensor, dict[str, float]]:
        """Negative weighted mean score of clips [B, T, 3, H, W], and the two means."""
        batch, frames = video.shape[:2]
        picks = torch.rand(batch, frames).argsort(dim=1)[:, : self.image_frames]
        images = video[torch.arange(batch)[:, None], picks].flatten(0, 1)
        # Frames are ordered (clip, frame): each prompt is repeated in place, not the list as a whole.
        repeated = [prompt for prompt in prompts for _ in range(picks.shape[1])]
        image = self.image.score(images, repeated).mean()
        clip = self.video.score(video, prompts).mean()
        loss = -self.image_weight * image - self.video_weight * clip
        return loss, {"image_reward": float(image.detach()), "video_reward": float(clip.detach())}


def augment(video: Tensor, *, crop: float = 0.12, noise: float = 0.03) -> Tensor:
    """A random crop of each clip, resized back, and a little noise.

    A reward that is seen only at one registration can be raised by invisible patterns; this denies it that.
    """
    batch, frames, channels, height, width = video.shape
    scale = 1 - crop * torch.rand(batch)
    shift = (1 - scale)[:, None] * (2 * torch.rand(batch, 2) - 1)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    flat = video.reshape(batch, frames * channels, height, width)
    grid = F.affine_grid(theta.to(video), list(flat.shape), align_corners=False)
    moved = F.grid_sample(flat, grid, padding_mode="border", align_corners=False).reshape(video.shape)
    return (moved + noise * torch.randn_like(moved)).clamp(0, 1)


class RewardFeedback:
    """Consistency loss + rewards of the decoded one-step prediction at a random start of the trajectory.

    Args:
        reward_batch: clips of each batch that are decoded and scored (memory and time are theirs).
    """

    def __init__(
        self,
        distillation: ConsistencyDistillation,
        vae: AutoencoderKL,
        rewards: RewardMixture,
        *,
        reward_batch: int,
    ) -> None:
        self.distillation, self.rewards, self.reward_batch = distillation, rewards, reward_batch
        self.vae = vae.requires_grad_(False).eval()

    @property
    def trainable(self) -> nn.Module:
        return self.distillation.trainable

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, float]]:
        distilled = self.distillation.distil(batch)
        video = augment(decode_video(self.vae, distilled.clean[: self.reward_batch]))
        reward_loss, figures = self.rewards(video, batch["captions"][: self.reward_batch])
        figures["consistency"] = float(distilled.loss.detach())
        return distilled.loss + reward_loss, figures
