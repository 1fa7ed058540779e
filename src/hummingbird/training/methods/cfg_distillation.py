"""Stage 1a: the pruned student regresses the teacher's output *after* classifier-free guidance."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from hummingbird.models.noise import NoiseSchedule, dynamic_scales
from hummingbird.models.unet import VideoUNet
from hummingbird.training.methods.features import FeatureAlignment
from hummingbird.training.methods.guided import GuidedDistillation, GuidedTeacher


class CfgDistillation(GuidedDistillation):
    """MSE between the student's prediction and the teacher's guided one, at the timesteps the student will be asked.

    Args:
        dynamic_rescale: scale the clean latents by timestep before noise is added (:func:`dynamic_scales`), as the
            teacher was trained. Nothing else scales: both networks answer for the same noisy latents, and it is these
            answers that are compared. A clean sample made of them is then the scaled one; consistency distillation,
            and the sampler, know of no scales.
        features: also align the student's features with the teacher's.
    """

    def __init__(
        self,
        student: VideoUNet,
        teacher: GuidedTeacher,
        schedule: NoiseSchedule,
        *,
        guidance: tuple[float, float],
        solver_steps: int = 50,
        dynamic_rescale: bool = False,
        features: FeatureAlignment | None = None,
    ) -> None:
        super().__init__(student, teacher, schedule, guidance=guidance, solver_steps=solver_steps)
        self.scales = dynamic_scales(schedule.num_timesteps).float() if dynamic_rescale else None
        self.features = features

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        clean, text, fps = batch["latents"], batch["text"], batch["fps"]
        timesteps, guidance, condition, noise = self.draw(clean)
        if self.scales is not None:
            clean = clean * self.scales.to(clean.device)[timesteps].view(-1, *([1] * (clean.ndim - 1)))
        noisy = self.schedule.add_noise(clean, noise, timesteps)
        with self.features.teacher if self.features else nullcontext():
            target = self.teacher(noisy, timesteps, text, guidance, fps)
        told = self.teacher.told(fps)
        with self.features.student if self.features else nullcontext():
            output = self.student(noisy, timesteps, text, timestep_cond=condition, fps=told).sample
        loss = F.mse_loss(output.float(), target)
        if self.features is None:
            return loss, {}
        distance = self.features.distance()
        figures = {"prediction": loss.detach(), "features": distance.detach()}
        return loss + self.features.weight * distance, figures
