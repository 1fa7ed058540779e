"""Stage 1b: latent consistency distillation with a DDIM solver and an embedded guidance scale."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hummingbird.models.noise import NoiseSchedule, pseudo_huber
from hummingbird.models.unet import VideoUNet
from hummingbird.training.methods.guided import GuidedDistillation, GuidedTeacher
from hummingbird.training.methods.one_step import consistency_function
from hummingbird.training.sharding import whole


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
    pseudo-Huber loss, and the online student as its own target.

    Args:
        target_ema_decay: of the target's weights, an average of the student's over past steps, as in the paper on
            Latent Consistency Models; 0 = the student itself. It starts as the student is now, and uses no dropout.
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
        target_ema_decay: float = 0.0,
    ) -> None:
        super().__init__(student, teacher, schedule, guidance=guidance, solver_steps=solver_steps)
        self.huber_c, self.target_ema_decay = huber_c, target_ema_decay
        self.target = student
        if target_ema_decay:
            self.target = copy.deepcopy(student).requires_grad_(False).eval()

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.distil(batch).loss, {}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the target's weights towards the student's."""
        for average, parameter in self._averaged().values():
            average.lerp_(whole(parameter), 1 - self.target_ema_decay)

    def state_dict(self) -> dict[str, Tensor]:
        """What the method would lose with its process: the target's weights, where they are not the student's."""
        return {name: average for name, (average, _) in self._averaged().items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up an average. One that the state has not, because none was kept until now, begins at the student."""
        for name, (average, parameter) in self._averaged().items():
            average.copy_(state[name] if name in state else whole(parameter))

    def _averaged(self) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """The target's and the student's parameters that are trained, by name; none without an average."""
        if self.target is self.student:
            return {}
        averages = dict(self.target.named_parameters())
        return {n: (averages[n], p) for n, p in self.student.named_parameters() if p.requires_grad}

    def distil(self, batch: dict[str, Any]) -> ConsistencyStep:
        """One consistency step on a batch of ``latents`` [B, C, T, h, w], ``text`` [B, L, D] and ``fps`` [B]."""
        clean, text, fps = batch["latents"], batch["text"], batch["fps"]
        start, guidance, condition, noise = self.draw(clean)
        return self.step(clean, noise, start, guidance, condition, text, fps)

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
        told = self.teacher.told(fps)
        prediction = consistency_function(self.student, self.schedule, noisy, start, text, condition, told)
        with torch.no_grad():
            target = consistency_function(self.target, self.schedule, previous, end, text, condition, told)
        return ConsistencyStep(pseudo_huber(prediction, target, self.huber_c), prediction, target, noisy, previous)
