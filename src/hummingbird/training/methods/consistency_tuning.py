"""Tuning a few-step student on clips themselves, without a teacher: consistency training for a new style."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from hummingbird.models.noise import NoiseSchedule, pseudo_huber, solver_timesteps
from hummingbird.models.unet import VideoUNet
from hummingbird.pipelines.text_to_video import guidance_embedding
from hummingbird.training.methods.one_step import consistency_function


class ConsistencyTuning:
    """The student's consistency function at place n of the solver grid matches itself (without gradient) at a lower
    place m of the same clip with the same noise; at m = 0 that is the clip.

    A teacher's ODE would lead back to the teacher's style, so the step from n to m is the clip's own: the estimate of
    consistency training (Song et al., arXiv:2303.01469, section 5). How far it goes follows "Consistency Models Made
    Easy" (Geng et al., arXiv:2406.14548): m = n (1 - 2^-k), with k from 0 to where m = n - 1 in equal shares of the
    training. So at first the clips are the target at every noise, which moves the style at once, where steps of n to
    n - 1 would have to carry it up the whole grid; and the end is the loss of few-step sampling, which keeps the
    samples sharp.

    Args:
        student: a denoiser, with or without a guidance embedding.
        guidance: range of guidance scales, drawn uniformly and embedded: each of them is to give the clips' style.
        solver_steps: those of the student's distillation.
        steps: of the whole training.
    """

    def __init__(
        self,
        student: VideoUNet,
        schedule: NoiseSchedule,
        *,
        guidance: tuple[float, float],
        solver_steps: int,
        steps: int,
        huber_c: float = 1e-3,
    ) -> None:
        self.student, self.schedule, self.guidance, self.huber_c = student, schedule, guidance, huber_c
        self.grid = solver_timesteps(schedule.num_timesteps, solver_steps)
        self.steps = steps
        self.most_halvings = math.ceil(math.log2(solver_steps))

    @property
    def trainable(self) -> nn.Module:
        return self.student

    def halvings(self, step: int) -> int:
        """k at a step of the training."""
        return min(step * (self.most_halvings + 1) // self.steps, self.most_halvings)

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, Any]]:
        """Pseudo-Huber distance for ``latents`` [B, C, T, h, w], ``text`` [B, L, D] and ``fps`` [B]."""
        clean, text, fps = batch["latents"], batch["text"], batch["fps"]
        places = torch.randint(1, len(self.grid) + 1, (len(clean),))
        condition = self._condition(clean)
        noise = torch.randn_like(clean)
        prediction = self._predict(clean, noise, places, text, condition, fps)
        target, halvings = clean, self.halvings(step)
        if halvings:
            lower = places - torch.div(places + 2**halvings - 1, 2**halvings, rounding_mode="floor")
            with torch.no_grad():
                reached = self._predict(clean, noise, lower.clamp(min=1), text, condition, fps)
            at_clip = (lower == 0).to(clean.device).view(-1, *([1] * (clean.ndim - 1)))
            target = torch.where(at_clip, clean, reached)
        return pseudo_huber(prediction, target, self.huber_c), {}

    def _condition(self, clean: Tensor) -> Tensor | None:
        dim = self.student.config.time_cond_proj_dim
        if dim is None:
            return None
        scales = torch.empty(len(clean)).uniform_(*self.guidance)
        return guidance_embedding(scales.to(clean.device), dim).to(clean.dtype)

    def _predict(
        self, clean: Tensor, noise: Tensor, places: Tensor, text: Tensor, condition: Tensor | None, fps: Tensor
    ) -> Tensor:
        """The student's prediction at the timesteps of places 1..N, for the clip under its noise."""
        timesteps = self.grid[places - 1].to(clean.device)
        noisy = self.schedule.add_noise(clean, noise, timesteps)
        return consistency_function(self.student, self.schedule, noisy, timesteps, text, condition, fps)
