"""Stage 1b: latent consistency distillation with a DDIM solver and an embedded guidance scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hummingbird.models.noise import NoiseSchedule, boundary_scalings, pseudo_huber
from hummingbird.models.unet import VideoUNet
from hummingbird.training.methods.guided import GuidedDistillation, GuidedTeacher


@dataclass
class ConsistencyStep:
    """What one distillation step yields: the loss, and what it was computed from.

    Args:
        clean: the student's one-step prediction of the clean latents, with gradient.
        target: what it should be, the prediction at ``previous``.
        noisy, previous: the latents at the start, and one solver step of the teacher from there.
    """

    loss: Tensor
    clean: Tensor
    target: Tensor
    noisy: Tensor
    previous: Tensor


class ConsistencyDistillation(GuidedDistillation):
    """The student's consistency function at t_n matches itself (without gradient) at t_{n-1} of the teacher's ODE.

    Follows Latent Consistency Models as Hummingbird's code has it: 50-step DDIM grid, one grid step, boundary scalings,
    pseudo-Huber loss, the online student as its own target.
    """

    def __init__(
        self,
        student: VideoUNet,
        teacher: GuidedTeacher,
        schedule: NoiseSchedule,
        *,
        guidance: tuple[float, float],
        solver_steps: int = 50,
        huber_c: float = 1e-3,
    ) -> None:
        super().__init__(student, teacher, schedule, guidance=guidance, solver_steps=solver_steps)
        self.huber_c = huber_c

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, float]]:
        return self.distil(batch).loss, {}

    def distil(self, batch: dict[str, Any]) -> ConsistencyStep:
        """One consistency step on a batch of ``latents`` [B, C, T, h, w], ``text`` [B, L, D] and ``fps`` [B]."""
        clean, text, fps = batch["latents"], batch["text"], batch["fps"]
        start, guidance, condition = self.draw(len(clean))
        return self.step(clean, torch.randn_like(clean), start, guidance, condition, text, fps)

    def step(
        self,
        clean: Tensor,
        noise: Tensor,
        start: Tensor,
        guidance: Tensor,
        condition: Tensor,
        text: Tensor,
        fps: Tensor,
    ) -> ConsistencyStep:
        """The step for given draws: ``noise`` like ``clean``, timesteps ``start`` [B], guidance scales [B] and their
        embeddings [B, D]."""
        end = (start - self.skip).clamp(min=0)
        noisy = self.schedule.add_noise(clean, noise, start)
        guided = self.teacher(noisy, start, text, guidance, fps)
        x0, eps = self.schedule.clean_and_noise(guided, noisy, start)
        previous = self.schedule.ddim_step(x0, eps, end)
        prediction = self.consistency_function(noisy, start, text, condition, fps)
        with torch.no_grad():
            target = self.consistency_function(previous, end, text, condition, fps)
        return ConsistencyStep(pseudo_huber(prediction, target, self.huber_c), prediction, target, noisy, previous)

    def consistency_function(
        self, noisy: Tensor, timesteps: Tensor, text: Tensor, condition: Tensor, fps: Tensor
    ) -> Tensor:
        """f(x_t, t) = c_skip x_t + c_out x_0, the student's prediction of the clean latents."""
        output = self.student(noisy, timesteps, text, timestep_cond=condition, fps=fps).sample
        x0, _ = self.schedule.clean_and_noise(output, noisy, timesteps)
        c_skip, c_out = boundary_scalings(timesteps, noisy)
        return c_skip * noisy + c_out * x0
