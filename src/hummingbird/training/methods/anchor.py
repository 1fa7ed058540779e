"""What holds the student while rewards pull at it: consistency distillation, its own state before, or nothing.

A reward can be raised by pictures that no one would call better. Every anchor makes the one-step prediction that the
rewards see, and a loss that grows as the student leaves what it had learned.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from hummingbird.models.noise import NoiseSchedule, pseudo_huber, solver_timesteps
from hummingbird.models.unet import VideoUNet
from hummingbird.pipelines.text_to_video import guidance_embedding
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import FpsCondition, told_fps
from hummingbird.training.methods.one_step import consistency_function


class Anchor(Protocol):
    """The student's one-step prediction of a batch and the loss that holds it.

    Attributes:
        name: of the loss among the figures.
    """

    name: str
    student: VideoUNet

    def __call__(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Predicted clean latents [B, C, T, h, w] with gradient, and a scalar loss."""
        ...


class ConsistencyAnchor:
    """The student goes on with the distillation that made it; needs the teacher."""

    name = "consistency"

    def __init__(self, distillation: ConsistencyDistillation) -> None:
        self.student, self.distillation = distillation.student, distillation

    def __call__(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        distilled = self.distillation.distil(batch)
        return distilled.clean, distilled.loss


class FrozenAnchor:
    """Distance of the student's prediction to that of the model it started from, at the same noisy latents; the place
    of the KL divergence to a reference model. No teacher is needed.

    The distance is the pseudo-Huber one of consistency distillation, so that the same ``huber_c`` and about the same
    weight serve both: far from the reference it grows linearly and does not outgrow the rewards as a square would.

    Args:
        reference: the student before these rewards, frozen here; None: nothing holds the student, and the loss is 0.
        guidance, solver_steps: as of :class:`~hummingbird.training.methods.guided.GuidedDistillation`.
        fps_condition: as of :class:`~hummingbird.training.methods.guided.GuidedTeacher`.
    """

    name = "stage1_distance"

    def __init__(
        self,
        student: VideoUNet,
        reference: VideoUNet | None,
        schedule: NoiseSchedule,
        *,
        guidance: tuple[float, float],
        solver_steps: int = 50,
        huber_c: float = 1e-3,
        fps_condition: FpsCondition = "clip",
    ) -> None:
        self.student, self.schedule, self.guidance, self.huber_c = student, schedule, guidance, huber_c
        self.fps_condition = fps_condition
        self.reference = None if reference is None else reference.requires_grad_(False).eval()
        self.grid = solver_timesteps(schedule.num_timesteps, solver_steps)

    def __call__(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        clean = batch["latents"]
        timesteps = self.grid[torch.randint(len(self.grid), (len(clean),))].to(clean.device)
        guidance = torch.empty(len(clean)).uniform_(*self.guidance).to(clean.device)
        noisy = self.schedule.add_noise(clean, torch.randn_like(clean), timesteps)
        prediction = self._predict(self.student, noisy, timesteps, guidance, batch)
        if self.reference is None:
            return prediction, prediction.new_zeros(())
        with torch.no_grad():
            before = self._predict(self.reference, noisy, timesteps, guidance, batch)
        return prediction, pseudo_huber(prediction, before, self.huber_c)

    def _predict(
        self, network: VideoUNet, noisy: Tensor, timesteps: Tensor, guidance: Tensor, batch: dict[str, Any]
    ) -> Tensor:
        condition = guidance_embedding(guidance, network.config.time_cond_proj_dim)
        fps = told_fps(batch["fps"], self.fps_condition)
        return consistency_function(network, self.schedule, noisy, timesteps, batch["text"], condition, fps)
