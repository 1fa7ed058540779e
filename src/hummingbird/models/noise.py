"""The forward process and the algebra between noise, clean and velocity, for any diffusers training schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class NoiseSchedule:
    """alphas_cumprod of a scheduler, and what follows from them.

    All functions take per-sample integer timesteps [B] and broadcast over the rest. ``prediction`` is what the network
    returns, in the scheduler's ``prediction_type`` (``epsilon``, ``v_prediction`` or ``sample``).
    """

    def __init__(self, scheduler: Any) -> None:
        self.alphas_cumprod: Tensor = scheduler.alphas_cumprod.float()
        self.prediction_type: str = scheduler.config.prediction_type
        self.num_timesteps = len(self.alphas_cumprod)

    def coefficients(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alphas_cumprod) and sqrt(1 - alphas_cumprod), shaped to multiply ``like``."""
        alpha = self.alphas_cumprod.to(like.device)[timesteps].view(-1, *([1] * (like.ndim - 1)))
        return alpha.sqrt().to(like.dtype), (1 - alpha).sqrt().to(like.dtype)

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = sqrt(a) x_0 + sqrt(1 - a) eps."""
        signal, sigma = self.coefficients(timesteps, clean)
        return signal * clean + sigma * noise

    def clean_and_noise(self, prediction: Tensor, noisy: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The clean sample and the noise that a prediction at ``noisy`` stands for."""
        signal, sigma = self.coefficients(timesteps, noisy)
        if self.prediction_type == "v_prediction":
            return signal * noisy - sigma * prediction, signal * prediction + sigma * noisy
        if self.prediction_type == "epsilon":
            return (noisy - sigma * prediction) / signal, prediction
        return prediction, (noisy - signal * prediction) / sigma

    def ddim_step(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The deterministic DDIM point at ``timesteps`` (eta 0)."""
        return self.add_noise(clean, noise, timesteps)


def solver_timesteps(num_timesteps: int, solver_steps: int) -> Tensor:
    """The DDIM grid of consistency distillation: 19, 39, ..., 999 for 50 steps of 1,000."""
    skip = num_timesteps // solver_steps
    return torch.arange(1, solver_steps + 1) * skip - 1


def boundary_scalings(
    timesteps: Tensor, like: Tensor, *, sigma_data: float = 0.5, timestep_scaling: float = 10.0
) -> tuple[Tensor, Tensor]:
    """c_skip and c_out of the consistency function f = c_skip x_t + c_out x_0; exactly (1, 0) at t = 0.

    Source: Latent Consistency Models, with s = 10 t: c_skip = sd^2 / (s^2 + sd^2), c_out = s / sqrt(s^2 + sd^2).
    """
    s = timesteps.to(like.dtype).view(-1, *([1] * (like.ndim - 1))) * timestep_scaling
    return sigma_data**2 / (s**2 + sigma_data**2), s / (s**2 + sigma_data**2).sqrt()


def pseudo_huber(prediction: Tensor, target: Tensor, c: float = 1e-3) -> Tensor:
    """mean(sqrt(d^2 + c^2) - c)."""
    return (((prediction - target).float() ** 2 + c**2).sqrt() - c).mean()
