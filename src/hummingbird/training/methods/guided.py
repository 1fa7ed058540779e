"""A frozen teacher under classifier-free guidance, and what both ways of distilling it share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hummingbird.models.noise import NoiseSchedule, solver_timesteps
from hummingbird.models.unet import VideoUNet
from hummingbird.pipelines.text_to_video import guidance_embedding


class GuidedTeacher:
    """The teacher's guided prediction, both passes in one batch.

    Args:
        unet: the teacher's denoiser; frozen here.
        null_text: embedding of the empty prompt, [1, L, D].
    """

    def __init__(self, unet: nn.Module, null_text: Tensor) -> None:
        self.unet = unet.requires_grad_(False).eval()
        self.null_text = null_text

    @torch.no_grad()
    def __call__(self, noisy: Tensor, timesteps: Tensor, text: Tensor, guidance: Tensor, fps: Tensor) -> Tensor:
        """uncond + g (cond - uncond) for per-sample guidance scales g [B]."""
        batch = len(noisy)
        out = self.unet(
            torch.cat([noisy, noisy]),
            torch.cat([timesteps, timesteps]),
            torch.cat([self.null_text.expand(batch, -1, -1), text]),
            fps=torch.cat([fps, fps]),
        ).sample
        uncond, cond = out.chunk(2)
        return uncond + guidance.view(-1, *([1] * (noisy.ndim - 1))) * (cond - uncond)


class GuidedDistillation:
    """A student with an embedded guidance scale and its guided teacher.

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
        self.skip = schedule.num_timesteps // solver_steps

    @property
    def trainable(self) -> nn.Module:
        return self.student

    def draw(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Timesteps [B], guidance scales [B] and their embeddings [B, D]."""
        timesteps = self.grid[torch.randint(len(self.grid), (batch,))]
        guidance = torch.empty(batch).uniform_(*self.guidance)
        return timesteps, guidance, guidance_embedding(guidance, self.student.config.time_cond_proj_dim)
