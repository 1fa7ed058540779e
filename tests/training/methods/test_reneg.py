"""ReNeg: what gets a gradient, and by which step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.training.methods.mixture import DecodedRewards, RewardMixture
from hummingbird.training.methods.reneg import ReNeg

PROMPT = "a red circle moves left"


def batch(size: int = 2) -> dict[str, Any]:
    g = torch.Generator().manual_seed(5)
    return {
        "latents": torch.randn(size, 16, 4, 4, 4, generator=g),
        "text": torch.randn(size, 24, 96, generator=g),
        "fps": torch.full((size,), 8.0),
        "captions": [f"caption {i}" for i in range(size)],
    }


def make(pipeline: TextToVideoPipeline, reward: Any, **changes: Any) -> ReNeg:
    mixture = RewardMixture(reward(), reward(), image_weight=1.0, video_weight=1.0, image_frames=2)
    settings = {"guidance_scale": 3.0, "steps": 4, "late_steps": 2, **changes}
    return ReNeg(pipeline, DecodedRewards(pipeline.vae, mixture, 2), **settings)


def test_it_trains_the_embedding_alone(pipeline: TextToVideoPipeline, brightness: Any) -> None:
    method = make(pipeline, brightness)
    torch.testing.assert_close(method.negative.embedding, pipeline.encode([""]))
    torch.manual_seed(1)
    method.loss(batch(), 0)[0].backward()
    gradient = method.negative.embedding.grad
    assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0
    assert list(method.trainable.parameters()) == [method.negative.embedding]
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert all(p.grad is None for p in network.parameters())


def test_without_guidance_the_embedding_plays_no_part(pipeline: TextToVideoPipeline, brightness: Any) -> None:
    method = make(pipeline, brightness, guidance_scale=1.0)
    torch.manual_seed(1)
    method.loss(batch(), 0)[0].backward()
    assert method.negative.embedding.grad is not None
    assert float(method.negative.embedding.grad.abs().max()) < 1e-7


@pytest.mark.parametrize("graded", [2, 3])
def test_the_gradient_is_that_of_the_guided_step_alone(
    pipeline: TextToVideoPipeline, brightness: Any, graded: int
) -> None:
    """With constants in place of the roll-out's latents the gradient is the same, so the roll-out adds nothing."""
    method = make(pipeline, brightness, steps=4, late_steps=1 if graded == 3 else 2)
    seed = next(seed for seed in range(99) if graded_step(method, seed) == graded)
    given, embedding = batch(), method.negative.embedding
    torch.manual_seed(seed)
    method.loss(given, 0)[0].backward()
    whole = embedding.grad.clone()

    torch.manual_seed(seed)
    noise = torch.randn_like(given["latents"])
    constant = method.roll_out(noise, graded, given["text"], given["fps"])
    assert not constant.requires_grad
    embedding.grad = None
    loss, _ = method.grade(constant.clone(), graded, given["text"], given["fps"], given["captions"])
    loss.backward()
    torch.testing.assert_close(embedding.grad, whole, atol=1e-9, rtol=1e-5)


def graded_step(method: ReNeg, seed: int) -> int:
    """Which step the loss grades under a seed."""
    steps: list[int] = []
    grade = method.grade
    method.grade = lambda noisy, step, *rest: (steps.append(step), noisy.sum()) and (noisy.sum(), {})
    torch.manual_seed(seed)
    method.loss(batch(1), 0)
    method.grade = grade
    return steps[0]


def test_the_graded_step_is_one_of_the_late_ones_and_follows_from_the_seed(
    pipeline: TextToVideoPipeline, brightness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = make(pipeline, brightness, steps=6, late_steps=3)
    monkeypatch.setattr(method, "roll_out", lambda noise, steps, text, fps: noise)
    found = [graded_step(method, seed) for seed in range(30)]
    assert set(found) == {3, 4, 5}
    assert found == [graded_step(method, seed) for seed in range(30)]
    short = make(pipeline, brightness, steps=2, late_steps=9)
    monkeypatch.setattr(short, "roll_out", lambda noise, steps, text, fps: noise)
    assert {graded_step(short, seed) for seed in range(20)} == {0, 1}


def test_the_roll_out_is_the_pipelines_own_sampling(pipeline: TextToVideoPipeline, brightness: Any) -> None:
    """Also after the pipeline has sampled in another number of steps."""
    method = make(pipeline, brightness, steps=4)
    with torch.no_grad():
        text = pipeline.encode([PROMPT])
    noise, _ = pipeline.initial_noise([3], 2, text)
    arguments = {"guidance_scale": 3.0, "num_frames": 2, "fps": 8, "output_type": "latent"}
    pipeline([PROMPT], seeds=[3], num_inference_steps=2, **arguments)
    expected = pipeline([PROMPT], seeds=[3], num_inference_steps=4, **arguments)
    pipeline([PROMPT], seeds=[3], num_inference_steps=2, **arguments)
    found = method.roll_out(noise, 4, text, torch.tensor([8.0]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_it_names_the_network_that_gradients_go_through(pipeline: TextToVideoPipeline, brightness: Any) -> None:
    assert list(make(pipeline, brightness).networks) == [pipeline.unet]
