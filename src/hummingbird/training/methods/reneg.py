"""ReNeg: learn the negative embedding of classifier-free guidance by reward, everything else frozen.

Roll out without gradient to a random late step, take one guided step with gradient, decode its prediction of the clean
video and score it. The guided step is the only path by which the embedding gets a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hummingbird.models.noise import NoiseSchedule
from hummingbird.models.vae import decode_video
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.training.methods.reward import RewardMixture, augment


class NegativeEmbedding(nn.Module):
    """The learned embedding [1, L, D], initialised from that of the empty prompt."""

    def __init__(self, null_text: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Parameter(null_text.detach().clone())


class ReNeg:
    """Reward of the prediction at one guided step.

    Args:
        pipeline: a teacher that samples with CFG (DDIM).
        steps: length of the DDIM trajectory.
        late_steps: the graded step is drawn among this many last ones.
    """

    def __init__(
        self,
        pipeline: TextToVideoPipeline,
        rewards: RewardMixture,
        *,
        guidance_scale: float,
        steps: int,
        late_steps: int,
    ) -> None:
        self.pipeline, self.rewards = pipeline, rewards
        self.guidance_scale, self.steps, self.late_steps = guidance_scale, steps, late_steps
        self.schedule = NoiseSchedule(pipeline.scheduler)
        with torch.no_grad():
            self.negative = NegativeEmbedding(pipeline.encode([""]))

    @property
    def trainable(self) -> nn.Module:
        return self.negative

    def _guided(self, latents: Tensor, timestep: Tensor, text: Tensor, fps: Tensor) -> Tensor:
        context = torch.cat([self.negative.embedding.expand(len(text), -1, -1), text])
        out = self.pipeline.unet(torch.cat([latents, latents]), timestep, context, fps=torch.cat([fps, fps])).sample
        uncond, cond = out.chunk(2)
        return uncond + self.guidance_scale * (cond - uncond)

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, float]]:
        text, fps = batch["text"], batch["fps"]
        scheduler = self.pipeline.scheduler
        scheduler.set_timesteps(self.steps)
        graded = self.steps - 1 - int(torch.randint(self.late_steps, ()))
        latents = torch.randn(batch["latents"].shape)
        with torch.no_grad():
            for timestep in scheduler.timesteps[:graded]:
                latents = scheduler.step(self._guided(latents, timestep, text, fps), timestep, latents).prev_sample
        timestep = scheduler.timesteps[graded]
        guided = self._guided(latents, timestep, text, fps)
        clean, _ = self.schedule.clean_and_noise(guided, latents, timestep.expand(len(latents)))
        return self.rewards(augment(decode_video(self.pipeline.vae, clean)), batch["captions"])
