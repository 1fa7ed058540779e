"""The rewards that train and those that only judge, from the foundation's folders."""

from __future__ import annotations

from pathlib import Path

import torch

from hummingbird.errors import UserError
from hummingbird.models.rewards.image_text import ImageTextReward
from hummingbird.models.rewards.loading import load_reward
from hummingbird.models.rewards.video_reward import VideoReward
from hummingbird.params import RewardWeights
from hummingbird.training.methods.mixture import RewardMixture


def load_rewards(
    foundation: Path,
    weights: RewardWeights,
    num_frames: int,
    device: torch.device | str = "cpu",
    *,
    held_out: bool = False,
) -> RewardMixture:
    """The rewards used for training, frozen. One of weight 0 is not loaded.

    Args:
        num_frames: of the clips that they will see.
        held_out: take the other models, which judge what these ones have trained.

    Raises:
        UserError: a reward is missing, or ``video_frames`` or the clips have fewer frames than the video reward takes.
    """
    image = video = None
    suffix = "_eval" if held_out else ""
    if weights.image_weight:
        image = load_reward(foundation / f"image_reward{suffix}", sees="image").to(device)
    if weights.video_weight:
        folder = foundation / f"video_reward{suffix}"
        video = load_reward(folder, sees="video").to(device)
        _check_frames(video, folder, min(num_frames, weights.video_frames))
    return RewardMixture(
        image=image,
        video=video,
        image_weight=weights.image_weight,
        video_weight=weights.video_weight,
        image_frames=weights.image_frames,
        video_frames=weights.video_frames,
    )


def _check_frames(reward: ImageTextReward | VideoReward, folder: Path, seen: int) -> None:
    """Refuse clips of which a video reward would see too few frames (one frame any of them takes)."""
    config = reward.config if isinstance(reward, VideoReward) else None
    least = getattr(config, "num_frames", 1)
    if seen < least and seen not in (1, getattr(config, "trained_frames", 1)):
        raise UserError(
            f"the video reward in {folder} looks at {least} frames, but would see {seen}",
            f"set num_frames and rewards.video_frames to {least} or more, or rewards.video_weight to 0, in params.yaml",
        )
