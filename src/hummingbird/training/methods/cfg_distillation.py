"""Stage 1a: the pruned student regresses the teacher's output *after* classifier-free guidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hummingbird.training.methods.guided import GuidedDistillation


class CfgDistillation(GuidedDistillation):
    """MSE between the student's prediction and the teacher's guided one, at the timesteps the student will be asked."""

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, float]]:
        clean, text, fps = batch["latents"], batch["text"], batch["fps"]
        timesteps, guidance, condition = self.draw(len(clean))
        noisy = self.schedule.add_noise(clean, torch.randn_like(clean), timesteps)
        target = self.teacher(noisy, timesteps, text, guidance, fps)
        output = self.student(noisy, timesteps, text, timestep_cond=condition, fps=fps).sample
        return F.mse_loss(output, target), {}
