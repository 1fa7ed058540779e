"""Stage 2: what its loss is made of, how each anchor holds the student, and that a rank changes no weight."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hummingbird.models.noise import NoiseSchedule, pseudo_huber
from hummingbird.models.pruning import hummingbird_plan, prune
from hummingbird.pipelines.text_to_video import TextToVideoPipeline
from hummingbird.training.methods.anchor import Anchor, ConsistencyAnchor, FrozenAnchor
from hummingbird.training.methods.consistency import ConsistencyDistillation
from hummingbird.training.methods.guided import GuidedTeacher
from hummingbird.training.methods.mixture import DecodedRewards, RewardMixture
from hummingbird.training.methods.reward import RewardFeedback


def batch(size: int = 3) -> dict[str, Any]:
    g = torch.Generator().manual_seed(5)
    return {
        "latents": torch.randn(size, 16, 8, 4, 4, generator=g),
        "text": torch.randn(size, 24, 96, generator=g),
        "fps": torch.full((size,), 8.0),
        "captions": [f"caption {i}" for i in range(size)],
    }


def make_anchor(kind: str, pipeline: TextToVideoPipeline) -> Anchor:
    student = prune(pipeline.unet, hummingbird_plan(2, mid_block=False)).requires_grad_(True)
    schedule = NoiseSchedule(pipeline.scheduler)
    if kind == "consistency":
        teacher = GuidedTeacher(pipeline.unet, pipeline.encode([""]))
        return ConsistencyAnchor(ConsistencyDistillation(student, teacher, schedule, guidance=(2.0, 5.0)))
    reference = copy.deepcopy(student) if kind == "stage1" else None
    return FrozenAnchor(student, reference, schedule, guidance=(2.0, 5.0))


def feedback(
    anchor: Anchor, pipeline: TextToVideoPipeline, reward: Any, *, weight: float = 1.0, size: int = 2
) -> RewardFeedback:
    mixture = RewardMixture(reward(), reward(), image_weight=1.0, video_weight=2.0, image_frames=2)
    rewards = DecodedRewards(pipeline.vae, mixture, 3)
    return RewardFeedback(anchor, rewards, reward_batch=size, anchor_weight=weight)


@pytest.mark.parametrize("kind", ["consistency", "stage1", "none"])
def test_the_reward_reaches_the_student_through_the_decoder(
    pipeline: TextToVideoPipeline, brightness: Any, kind: str
) -> None:
    anchor = make_anchor(kind, pipeline)
    method = feedback(anchor, pipeline, brightness, weight=0.5)
    torch.manual_seed(1)
    loss, figures = method.loss(batch(), 0)
    loss.backward()
    mixture = method.rewards.mixture
    assert mixture.image.prompts == ["caption 0", "caption 0", "caption 1", "caption 1"]
    assert mixture.video.prompts == ["caption 0", "caption 1"]
    expected = 0.5 * figures[anchor.name] - figures["image_reward"] - 2 * figures["video_reward"]
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)
    assert all(isinstance(value, Tensor) and not value.requires_grad for value in figures.values())
    assert method.trainable is anchor.student
    for name, parameter in anchor.student.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    frozen = [pipeline.vae, pipeline.unet, *([anchor.reference] if kind == "stage1" else [])]
    assert all(p.grad is None for network in frozen for p in network.parameters())


def test_the_frozen_anchor_is_the_distance_to_where_the_student_started(pipeline: TextToVideoPipeline) -> None:
    anchor = make_anchor("stage1", pipeline)
    torch.manual_seed(1)
    prediction, distance = anchor(batch())
    assert float(distance.detach()) < 1e-8
    with torch.no_grad():
        anchor.student.conv_out.weight.mul_(1.5)
    torch.manual_seed(1)
    moved, distance = anchor(batch())
    assert float(distance.detach()) == pytest.approx(float(pseudo_huber(moved, prediction, 1e-3).detach()), rel=1e-4)
    assert float(distance.detach()) > 1e-4
    torch.manual_seed(1)
    _, nothing = make_anchor("none", pipeline)(batch())
    assert float(nothing) == 0


def test_the_anchors_see_the_same_noise_and_predict_the_same(pipeline: TextToVideoPipeline) -> None:
    predictions = []
    for kind in ("consistency", "stage1", "none"):
        anchor = make_anchor(kind, pipeline)
        torch.manual_seed(1)
        predictions.append(anchor(batch())[0])
    torch.testing.assert_close(predictions[0], predictions[1], atol=1e-6, rtol=1e-6)
    assert torch.equal(predictions[1], predictions[2])


def test_two_ranks_together_have_the_weights_of_one(pipeline: TextToVideoPipeline, brightness: Any) -> None:
    """Each rank computes the whole mixture of its part of a step, so the mean over ranks of what they are pulled by is
    the loss of a single process that goes through both parts."""
    anchor = make_anchor("stage1", pipeline)
    torch.nn.init.normal_(anchor.student.conv_out.weight, std=0.1)
    method = feedback(anchor, pipeline, brightness)
    whole = batch(4)
    parts = [{key: value[first : first + 2] for key, value in whole.items()} for first in (0, 2)]

    def gradient(numbers: list[int]) -> tuple[Tensor, dict[str, float]]:
        anchor.student.zero_grad()
        sums: dict[str, float] = {}
        for number in numbers:
            torch.manual_seed(number)  # of the part, on whatever rank it is computed
            loss, figures = method.loss(parts[number], 0)
            (loss / len(numbers)).backward()
            sums = {key: sums.get(key, 0.0) + float(value) / len(numbers) for key, value in figures.items()}
        return nn.utils.parameters_to_vector(p.grad for p in anchor.student.parameters()), sums

    one, figures = gradient([0, 1])
    ranks = [gradient([number]) for number in (0, 1)]
    torch.testing.assert_close(one, (ranks[0][0] + ranks[1][0]) / 2, atol=1e-7, rtol=1e-5)
    for name in ("image_reward", "video_reward", anchor.name):
        assert all(name in rank[1] for rank in ranks)  # none computes only a share of the mixture
        assert figures[name] == pytest.approx((ranks[0][1][name] + ranks[1][1][name]) / 2, rel=1e-5)
