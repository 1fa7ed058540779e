"""How a training's checkpoints are judged on what it never sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hummingbird.params import RewardWeights
from hummingbird.training.methods.mixture import RewardMixture
from hummingbird.training.rewards import load_rewards

CLIPS_AT_ONCE = 8


@dataclass(frozen=True)
class HeldOutRewards:
    """Mean scores of sampled clips by rewards that do not train; a validation's scorer.

    Args:
        device: where the rewards are.
    """

    rewards: RewardMixture
    device: torch.device

    @classmethod
    def load(
        cls, foundation: Path, weights: RewardWeights, num_frames: int, device: torch.device
    ) -> HeldOutRewards | None:
        """The foundation's held-out rewards, mixed as those that train; None where none of these has any weight."""
        if not (weights.image_weight or weights.video_weight):
            return None
        return cls(load_rewards(foundation, weights, num_frames, device, held_out=True), device)

    def __call__(self, videos: Tensor, prompts: Sequence[str]) -> tuple[dict[str, float], float]:
        """Figures of clips [B, T, 3, H, W] in [0, 1] by name, and their weighted mean, by which to choose."""
        parts = [
            self.rewards.scores(videos[first:][:CLIPS_AT_ONCE].to(self.device), list(prompts[first:][:CLIPS_AT_ONCE]))
            for first in range(0, len(videos), CLIPS_AT_ONCE)
        ]
        means = {name: float(torch.cat([part[name] for part in parts]).mean()) for name in parts[0]}
        return {f"held_out/{name}": mean for name, mean in means.items()}, means["score"]
