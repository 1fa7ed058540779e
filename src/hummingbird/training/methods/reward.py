"""Stage 2: mixed reward feedback on the student's decoded one-step prediction, held by an anchor."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hummingbird.training.methods.anchor import Anchor
from hummingbird.training.methods.mixture import DecodedRewards, Figures


class RewardFeedback:
    """Rewards of the one-step prediction at a random start of the trajectory, and the anchor's loss.

    The weights are the parameters', whatever number of processes train: each computes the whole mixture. (The released
    training had some compute the image reward and others the video reward, and so other weights than it named.)

    Args:
        anchor: makes the prediction, and holds the student to what it was.
        reward_batch: clips of each batch that are decoded and scored (memory and time are theirs).
    """

    def __init__(
        self, anchor: Anchor, rewards: DecodedRewards, *, reward_batch: int, anchor_weight: float = 1.0
    ) -> None:
        self.anchor, self.rewards = anchor, rewards
        self.reward_batch, self.anchor_weight = reward_batch, anchor_weight

    @property
    def trainable(self) -> nn.Module:
        return self.anchor.student

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, Figures]:
        predicted, held = self.anchor(batch)
        count = self.reward_batch
        reward_loss, figures = self.rewards(predicted[:count], batch["captions"][:count])
        figures[self.anchor.name] = held.detach()
        return self.anchor_weight * held + reward_loss, figures
