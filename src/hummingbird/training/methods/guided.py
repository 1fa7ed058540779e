"""A frozen teacher under classifier-free guidance, and what both ways of distilling it share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hummingbird.models.noise import NoiseSchedule, solver_timesteps
from hummingbird.models.unet import VideoUNet
from hummingbird.params import Precision
from hummingbird.pipelines.text_to_video import guidance_embedding

FpsCondition = Literal["clip", "released"]

#: Frame rates in Hummingbird's consistency distillation, whatever the clip's own: of the student and the teacher's
#: conditional pass, and, since that call leaves its out, the network's default in the unconditional one.
RELEASED_FPS, RELEASED_UNCONDITIONAL_FPS = 8.0, 16.0

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def told_fps(fps: Tensor, condition: FpsCondition) -> Tensor:
    """The frame rates [B] that a student and the teacher's conditional pass are told, for clips of ``fps`` [B]."""
    return torch.full_like(fps, RELEASED_FPS) if condition == "released" else fps


class GuidedTeacher:
    """The teacher's guided prediction, both passes in one batch, in inference mode.

    Args:
        unet: the teacher's denoiser; frozen here, and its weights cast to ``precision``.
        null_text: embedding of the empty prompt, [1, L, D].
        fps_condition: the frame rate that networks are told: the clip's (after its stride), or the released script's.
    """

    def __init__(
        self,
        unet: nn.Module,
        null_text: Tensor,
        *,
        precision: Precision = "fp32",
        fps_condition: FpsCondition = "clip",
    ) -> None:
        self.dtype, self.fps_condition = _DTYPES[precision], fps_condition
        self.unet = unet.requires_grad_(False).eval()
        nn.Module.to(unet, self.dtype)  # diffusers' own `to` warns of an empty list of modules
        self.null_text = null_text.to(self.dtype)

    def told(self, fps: Tensor) -> Tensor:
        """As :func:`told_fps`."""
        return told_fps(fps, self.fps_condition)

    def __call__(self, noisy: Tensor, timesteps: Tensor, text: Tensor, guidance: Tensor, fps: Tensor) -> Tensor:
        """uncond + g (cond - uncond) for per-sample guidance scales g [B], in float32 and outside of autocast.

        ``fps`` [B] are the clips'.
        """
        batch = len(noisy)
        with torch.inference_mode(), torch.autocast(noisy.device.type, enabled=False):
            out = self.unet(
                torch.cat([noisy, noisy]).to(self.dtype),
                torch.cat([timesteps, timesteps]),
                torch.cat([self.null_text.expand(batch, -1, -1), text.to(self.dtype)]),
                fps=torch.cat([self._unconditional(fps), self.told(fps)]),
            ).sample.float()
            uncond, cond = out.chunk(2)
            guided = uncond + guidance.view(-1, *([1] * (noisy.ndim - 1))) * (cond - uncond)
        return guided.clone()  # of an inference tensor, autograd could save nothing

    def _unconditional(self, fps: Tensor) -> Tensor:
        return torch.full_like(fps, RELEASED_UNCONDITIONAL_FPS) if self.fps_condition == "released" else fps


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

    def draw(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For a batch of clean latents: timesteps [B], guidance scales [B], their embeddings [B, D], and noise.

        All but the noise are drawn on the CPU, so they are the same on every device.
        """
        batch, device = len(clean), clean.device
        timesteps = self.grid[torch.randint(len(self.grid), (batch,))]
        guidance = torch.empty(batch).uniform_(*self.guidance)
        embedded = guidance_embedding(guidance, self.student.config.time_cond_proj_dim)
        return timesteps.to(device), guidance.to(device), embedded.to(device), torch.randn_like(clean)
