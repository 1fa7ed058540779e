"""ReNeg for one prompt: fit the negative embedding a little further, and keep it only where it pays.

A fit is judged by the very video it is for: complete samples from the same noise, in the same number of steps and at
the same guidance, graded by the rewards without augmentation. What it starts from is judged in the same way first, so
what is kept is never worse by these rewards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hummingbird.layout import Layout
from hummingbird.models.vae import decode_video
from hummingbird.params import Optim, Reneg
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import RunLog, SilentLog
from hummingbird.training.methods.mixture import DecodedRewards
from hummingbird.training.methods.reneg import ReNeg, check_learnable
from hummingbird.training.optimisation import make_optimizer
from hummingbird.training.rewards import load_rewards


@dataclass(frozen=True)
class Sampling:
    """How the video will be generated."""

    prompt: str
    seed: int
    steps: int
    guidance_scale: float
    num_frames: int
    fps: int


@dataclass(frozen=True)
class Fit:
    """``embedding`` [1, L, D] of the best reward; ``before`` and ``after``: rewards of what was started from and of it;
    ``steps`` taken, ``best_step`` the one it is from (0: what was started from)."""

    embedding: Tensor
    before: float
    after: float
    steps: int
    best_step: int


def fit_model(pipeline: TextToVideoPipeline, sampling: Sampling, settings: Reneg, layout: Layout, log: RunLog) -> Fit:
    """Fit the negative embedding of a guided ``pipeline`` to one prompt by the foundation's rewards and leave it there.

    Raises:
        UserError: there is nothing to learn by, a reward is missing, the video has fewer frames than the video reward
            takes, or the optimiser is not installed.
    """
    check_learnable(settings.rewards, sampling.guidance_scale)
    rewards = load_rewards(layout.foundation, settings.rewards, sampling.num_frames, pipeline.device)
    method = ReNeg(
        pipeline,
        DecodedRewards(pipeline.vae, rewards, settings.decode_frames),
        guidance_scale=sampling.guidance_scale,
        steps=settings.steps,
        late_steps=settings.late_steps,
        start=pipeline.negative_prompt_embeds,
    )
    fit = fit_prompt(
        method,
        pipeline,
        sampling,
        optim=settings.optim,
        steps=settings.prompt_steps,
        patience=settings.prompt_patience,
        log=log,
    )
    pipeline.negative_prompt_embeds = fit.embedding
    return fit


def fit_prompt(
    method: ReNeg,
    pipeline: TextToVideoPipeline,
    sampling: Sampling,
    *,
    optim: Optim,
    steps: int,
    patience: int,
    log: RunLog | None = None,
) -> Fit:
    """Fit ``method``'s embedding, which may have been learned for all prompts, to one.

    Each step is one of ReNeg's training, on the noise that the video is made from: a roll-out to one of the late steps
    and one guided step with gradient.

    Args:
        optim: of the training for all prompts; its optimiser, rate (constant here) and clipping are used.
        steps, patience: at most so many steps, and so many without a better reward (ReNeg: 10 and 3).
    """
    embedding = method.negative.embedding
    with torch.no_grad():
        text = pipeline.encode([sampling.prompt])
    noise, _ = pipeline.initial_noise([sampling.seed], sampling.num_frames, text)
    fps = torch.full((1,), float(sampling.fps), device=text.device)
    optimizer = make_optimizer([embedding], optim)
    before = reward_of(method, pipeline, sampling)
    best = Fit(embedding.detach().clone(), before, before, 0, 0)
    for step in (log or SilentLog()).progress(range(1, steps + 1), "fitting the negative embedding", steps):
        torch.manual_seed(sampling.seed + step)
        loss, _ = method.loss_from(noise, text, fps, [sampling.prompt])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([embedding], optim.max_grad_norm)
        optimizer.step()
        best = replace(best, steps=step)
        reward = reward_of(method, pipeline, sampling)
        if reward > best.after:
            best = replace(best, embedding=embedding.detach().clone(), after=reward, best_step=step)
        if step - best.best_step >= patience:
            break
    with torch.no_grad():
        embedding.copy_(best.embedding)
    return best


@torch.no_grad()
def reward_of(method: ReNeg, pipeline: TextToVideoPipeline, sampling: Sampling) -> float:
    """Weighted mean reward of the video that ``pipeline`` makes with the embedding as it is."""
    latents = pipeline(
        [sampling.prompt],
        seeds=[sampling.seed],
        num_inference_steps=sampling.steps,
        guidance_scale=sampling.guidance_scale,
        negative_prompt_embeds=method.negative.embedding,
        num_frames=sampling.num_frames,
        fps=sampling.fps,
        output_type="latent",
    )
    video = decode_video(pipeline.vae, torch.as_tensor(latents)).float()
    return float(method.rewards.mixture.scores(video, [sampling.prompt])["score"][0])
