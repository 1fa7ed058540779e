"""The forward process and the algebra between noise, clean and velocity, for any diffusers training schedule."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor


def videocrafter_scheduler() -> DDIMScheduler:
    """VideoCrafter2's noise schedule and teacher sampler: epsilon prediction, DDIM on timesteps 1, 21, ..., 981.

    diffusers computes its tables in float32, the original in float64: alphas_cumprod differ by up to 4.7e-7. The
    distillation of Hummingbird uses the float32 ones.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        timestep_spacing="leading",
        steps_offset=1,
    )


def scaled_linear_betas(
    num_timesteps: int = 1000, start: float = 0.00085, end: float = 0.012, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Betas whose roots are evenly spaced (``linear`` in VideoCrafter's terms, ``scaled_linear`` in diffusers')."""
    return torch.linspace(start**0.5, end**0.5, num_timesteps, dtype=dtype) ** 2


def dynamic_scales(num_timesteps: int = 1000, *, base: float = 0.7, turning_step: int = 400) -> Tensor:
    """Factors of the clean latents by timestep, float64: from 1 down to ``base``, and constant from there on.

    VideoCrafter2 was trained with them, and so was stage 1 of Hummingbird; its consistency distillation was not.
    """
    falling = torch.linspace(1, base, turning_step, dtype=torch.float64)
    return torch.cat([falling, falling.new_full((num_timesteps - turning_step,), base)])


def ddim_sigmas(alphas: Tensor, alphas_prev: Tensor, eta: float = 1.0) -> Tensor:
    """Standard deviation of the noise that a DDIM step adds (arXiv:2010.02502, equation 16)."""
    return eta * ((1 - alphas_prev) / (1 - alphas) * (1 - alphas / alphas_prev)).sqrt()


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
