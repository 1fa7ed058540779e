"""ReNeg: learn the negative embedding of classifier-free guidance by reward, everything else frozen.

Roll out without gradient to a random late step, take one guided step with gradient, decode its prediction of the clean
video and score it. The guided step is the only path by which the embedding gets a gradient (arXiv:2412.19637).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hummingbird.errors import UserError
from hummingbird.models.noise import NoiseSchedule
from hummingbird.params import RewardWeights
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.training.methods.mixture import DecodedRewards, Figures, step_generator

_GRADED_STEP = 1  # stream of its choice


def check_learnable(rewards: RewardWeights, guidance_scale: float) -> None:
    """Refuse what gives the embedding no gradient.

    Raises:
        UserError: no reward has any weight, or there is no guidance.
    """
    if not (rewards.image_weight or rewards.video_weight):
        raise UserError(
            "a negative embedding is learned by a reward, but both have weight 0",
            "set reneg.rewards.image_weight or video_weight above 0 in params.yaml",
        )
    if guidance_scale == 1:
        raise UserError(
            "a negative embedding plays no part at guidance scale 1, where only the prompt counts",
            "set reneg.guidance_scale in params.yaml (of generate: --guidance) above 1",
        )


class NegativeEmbedding(nn.Module):
    """The learned embedding [1, L, D]."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Parameter(start.detach().clone())


class ReNeg:
    """Reward of the prediction at one guided step.

    Args:
        pipeline: a teacher that samples with CFG (DDIM); frozen here.
        steps: length of the DDIM trajectory.
        late_steps: the graded step is drawn among this many last ones; all steps where there are no more.
        start: the embedding [1, L, D] to start from; None: that of the empty prompt.

    Attributes:
        networks: what gradients go through on their way to the embedding.
    """

    def __init__(
        self,
        pipeline: TextToVideoPipeline,
        rewards: DecodedRewards,
        *,
        guidance_scale: float,
        steps: int,
        late_steps: int,
        start: Tensor | None = None,
    ) -> None:
        self.unet, self.rewards = pipeline.unet.requires_grad_(False).eval(), rewards
        self.networks: Sequence[nn.Module] = (self.unet,)
        self.guidance_scale, self.steps, self.late_steps = guidance_scale, steps, min(late_steps, steps)
        self.schedule = NoiseSchedule(pipeline.scheduler)
        self.scheduler = copy.deepcopy(pipeline.scheduler)  # the pipeline may sample in another number of steps
        self.scheduler.set_timesteps(steps)
        self.timesteps: list[int] = self.scheduler.timesteps.tolist()
        with torch.no_grad():
            null_text = pipeline.encode([""]).float()
        self.negative = NegativeEmbedding(null_text if start is None else start.to(null_text))

    @property
    def trainable(self) -> nn.Module:
        return self.negative

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, Figures]:
        noise = torch.randn_like(batch["latents"]) * self.scheduler.init_noise_sigma
        return self.loss_from(noise, batch["text"], batch["fps"], batch["captions"])

    def probe(self, batch: dict[str, Any], step: int) -> tuple[Tensor, Figures]:
        """The loss without the roll-out, which keeps nothing in memory; for estimating what training takes."""
        noise = torch.randn_like(batch["latents"])
        return self.grade(noise, self.steps - 1, batch["text"], batch["fps"], batch["captions"])

    def loss_from(self, noise: Tensor, text: Tensor, fps: Tensor, prompts: list[str]) -> tuple[Tensor, Figures]:
        """Loss at a random late step of the trajectory from ``noise`` [B, C, T, h, w]."""
        graded = self.steps - 1 - int(step_generator(_GRADED_STEP).integers(self.late_steps))
        return self.grade(self.roll_out(noise, graded, text, fps), graded, text, fps, prompts)

    @torch.no_grad()
    def roll_out(self, latents: Tensor, steps: int, text: Tensor, fps: Tensor) -> Tensor:
        """Latents [B, C, T, h, w] after so many steps of the trajectory, with the embedding as it is now."""
        for timestep in self.timesteps[:steps]:
            prediction = self._guided(latents, timestep, text, fps)
            latents = self.scheduler.step(prediction, timestep, latents).prev_sample
        return latents

    def grade(self, noisy: Tensor, step: int, text: Tensor, fps: Tensor, prompts: list[str]) -> tuple[Tensor, Figures]:
        """Loss of the clean video that the guided step number ``step`` of the trajectory predicts from ``noisy``."""
        timestep = self.timesteps[step]
        guided = self._guided(noisy, timestep, text, fps)
        timesteps = torch.full((len(noisy),), timestep, device=noisy.device)
        clean, _ = self.schedule.clean_and_noise(guided, noisy, timesteps)
        return self.rewards(clean, prompts)

    def _guided(self, latents: Tensor, timestep: int, text: Tensor, fps: Tensor) -> Tensor:
        context = torch.cat([self.negative.embedding.expand(len(text), -1, -1), text])
        out = self.unet(torch.cat([latents, latents]), timestep, context, fps=torch.cat([fps, fps])).sample.float()
        uncond, cond = out.chunk(2)
        return uncond + self.guidance_scale * (cond - uncond)
