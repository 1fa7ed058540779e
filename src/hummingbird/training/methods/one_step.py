"""The clean latents that a consistency model predicts in one step."""

from __future__ import annotations

from torch import Tensor

from hummingbird.models.noise import NoiseSchedule, boundary_scalings
from hummingbird.models.unet import VideoUNet


def consistency_function(
    network: VideoUNet,
    schedule: NoiseSchedule,
    noisy: Tensor,
    timesteps: Tensor,
    text: Tensor,
    condition: Tensor | None,
    fps: Tensor,
) -> Tensor:
    """f(x_t, t) = c_skip x_t + c_out x_0 (Latent Consistency Models), with x_0 from the network's prediction.

    Args:
        noisy, timesteps: [B, C, T, h, w] and [B].
        text, condition, fps: what the network is told: [B, L, D], guidance embeddings [B, D] or None, frame rates [B].
    """
    output = network(noisy, timesteps, text, timestep_cond=condition, fps=fps).sample
    x0, _ = schedule.clean_and_noise(output, noisy, timesteps)
    c_skip, c_out = boundary_scalings(timesteps, noisy)
    return c_skip * noisy + c_out * x0
