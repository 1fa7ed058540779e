"""A frozen teacher under classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
