"""ReNeg for one prompt: never worse than what it started from, and stopped in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Optim, Reneg, RewardWeights
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.runlog import SilentLog
from hummingbird.training.methods.mixture import DecodedRewards, RewardMixture
from hummingbird.training.methods.reneg import ReNeg
from hummingbird.training.per_prompt import Sampling, fit_model, fit_prompt, reward_of

PROMPT = "a red circle moves left"
OPTIM = Optim(steps=1, batch_size=1, learning_rate=0.05)
SAMPLING = Sampling(PROMPT, seed=3, steps=3, guidance_scale=3.0, num_frames=2, fps=8)


def make(pipeline: TextToVideoPipeline, reward: Any, **changes: Any) -> ReNeg:
    mixture = RewardMixture(reward(), reward(), image_weight=1.0, video_weight=1.0, image_frames=2)
    settings = {"guidance_scale": 3.0, "steps": 4, "late_steps": 2, **changes}
    return ReNeg(pipeline, DecodedRewards(pipeline.vae, mixture, 2), **settings)


def test_a_fit_is_never_worse_and_keeps_the_best(pipeline: TextToVideoPipeline, brightness: Any) -> None:
    method = make(pipeline, brightness)
    before = reward_of(method, pipeline, SAMPLING)
    fit = fit_prompt(method, pipeline, SAMPLING, optim=OPTIM, steps=4, patience=3)
    assert fit.before == before
    assert fit.after > before  # brightness is easily raised
    assert 1 <= fit.best_step <= fit.steps <= 4
    assert torch.equal(method.negative.embedding, fit.embedding)
    assert reward_of(method, pipeline, SAMPLING) == fit.after


def test_a_fit_that_finds_nothing_better_stops_and_changes_nothing(
    pipeline: TextToVideoPipeline, brightness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = make(pipeline, brightness)
    start = method.negative.embedding.detach().clone()
    rewards = iter([0.5, 0.4, 0.5, 0.3, 0.9])
    monkeypatch.setattr("hummingbird.training.per_prompt.reward_of", lambda *_: next(rewards))
    fit = fit_prompt(method, pipeline, SAMPLING, optim=OPTIM, steps=10, patience=3)
    assert (fit.before, fit.after, fit.steps, fit.best_step) == (0.5, 0.5, 3, 0)
    assert torch.equal(method.negative.embedding, start)


def test_a_fit_starts_from_the_embedding_given(pipeline: TextToVideoPipeline, brightness: Any) -> None:
    learned: Tensor = torch.full((1, 24, 96), 0.5)
    method = make(pipeline, brightness, start=learned)
    assert torch.equal(method.negative.embedding, learned)
    fit = fit_prompt(method, pipeline, SAMPLING, optim=OPTIM, steps=1, patience=3)
    assert (fit.embedding - learned).abs().max() <= 0.05 + 1e-3  # one step of AdamW


def test_a_fit_decays_and_clips_as_the_stage_does(
    pipeline: TextToVideoPipeline, brightness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = torch.full((1, 24, 96), 0.5)
    for changes, expected in (({"weight_decay": 1.0}, 0.475), ({"weight_decay": 1.0, "max_grad_norm": 1e-13}, 0.475)):
        rewards = iter([0.1, 0.2])
        monkeypatch.setattr("hummingbird.training.per_prompt.reward_of", lambda *_, given=rewards: next(given))
        method = make(pipeline, brightness, start=learned)
        fit = fit_prompt(method, pipeline, SAMPLING, optim=OPTIM.model_copy(update=changes), steps=1, patience=3)
        moved = float((fit.embedding - expected).abs().max())  # beyond the decay, which takes rate x decay of it
        assert moved < 1e-4 if "max_grad_norm" in changes else 0.04 < moved < 0.051


@pytest.mark.parametrize(
    ("guidance", "weight", "problem"), [(3.0, 0.0, "both have weight 0"), (1.0, 1.0, "no part at guidance scale 1")]
)
def test_a_fit_without_reward_or_guidance_is_refused(
    pipeline: TextToVideoPipeline, guidance: float, weight: float, problem: str
) -> None:
    settings = Reneg(rewards=RewardWeights(image_weight=weight, video_weight=0.0))
    with pytest.raises(UserError, match=problem):
        fit_model(pipeline, replace(SAMPLING, guidance_scale=guidance), settings, Layout(), SilentLog())
