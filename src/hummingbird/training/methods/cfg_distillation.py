"""Stage 1a: the pruned student regresses the teacher's output *after* classifier-free guidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hummingbird.models.noise import NoiseSchedule, solver_timesteps
from hummingbird.models.unet import VideoUNet
from hummingbird.pipelines.text_to_video import guidance_embedding
from hummingbird.training.methods.guided import GuidedTeacher


class CfgDistillation:
    """MSE between the student's prediction and the teacher's guided one, at the timesteps the student will be asked.

    Args:
        guidance: range of guidance scales (``uncond + g (cond - uncond)``), drawn uniformly and embedded.
        solver_steps: timesteps are drawn from this DDIM grid, which contains the student's sampling steps.
    """

    def __init__(
        self,
        student: VideoUNet,
        teacher: GuidedTeacher,
        schedule: NoiseSchedule,
        *,
        guidance: tuple[float, float],
        solver_steps: int = 50,
    ) -> None:
        self.student, self.teacher, self.schedule, self.guidance = student, teacher, schedule, guidance
        self.grid = solver_timesteps(schedule.num_timesteps, solver_steps)

    @property
    def trainable(self) -> nn.Module:
        return self.student

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, float]]:
        clean, text, fps = batch["latents"], batch["text"], batch["fps"]
        size = len(clean)
        timesteps = self.grid[torch.randint(len(self.grid), (size,))]
        guidance = torch.empty(size).uniform_(*self.guidance)
        noisy = self.schedule.add_noise(clean, torch.randn_like(clean), timesteps)
        target = self.teacher(noisy, timesteps, text, guidance, fps)
        condition = guidance_embedding(guidance, self.student.config.time_cond_proj_dim)
        output = self.student(noisy, timesteps, text, timestep_cond=condition, fps=fps).sample
        return F.mse_loss(output, target), {}
