"""The loss of a changed teacher, against the same computed by hand."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.leave_out import left_out
from hummingbird.models.noise import NoiseSchedule
from hummingbird.models.pruning import PruningPlan, prune
from hummingbird.models.unet import VideoUNet, miniature_unet
from hummingbird.runlog import SilentLog
from hummingbird.training.importance import Change, Draws, ImportanceStudy


def data(number: int) -> dict[str, Any]:
    g = torch.Generator().manual_seed(number)
    return {
        "latents": torch.randn(3, 16, 8, 4, 4, generator=g),
        "text": torch.randn(3, 5, 96, generator=g),
        "fps": torch.tensor([8.0, 4.0, 8.0]),
    }


DRAWS = Draws(data, batches=2, seed=5, guidance=(2.0, 6.0), solver_steps=10)
SCHEDULE = NoiseSchedule(miniature_scheduler())
NULL = torch.randn(1, 5, 96, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def teacher() -> VideoUNet:
    torch.manual_seed(0)
    unet = miniature_unet(96)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    return unet.eval()


def test_draws_follow_from_the_seed_and_the_number_of_the_batch() -> None:
    first, second = (DRAWS.query(number, SCHEDULE, "cpu") for number in range(2))
    torch.manual_seed(123)
    assert all(torch.equal(a, b) for a, b in zip(first, DRAWS.query(0, SCHEDULE, "cpu"), strict=True))
    other = Draws(data, batches=2, seed=6, guidance=(2.0, 6.0), solver_steps=10).query(0, SCHEDULE, "cpu")
    for draw in (second, other):
        assert not any(torch.equal(first[place], draw[place]) for place in (0, 1, 3))  # noisy, timesteps, guidance
    for noisy, timesteps, _, guidance, _ in (first, second):
        assert noisy.shape == (3, 16, 8, 4, 4)
        assert timesteps.remainder(100).eq(99).all()
        assert guidance.min() >= 2 and guidance.max() <= 6


def guided(network: VideoUNet, number: int) -> Tensor:
    """Both passes apart, then mixed."""
    noisy, timesteps, text, guidance, fps = DRAWS.query(number, SCHEDULE, "cpu")
    with torch.no_grad():
        cond = network(noisy, timesteps, text, fps=fps).sample
        uncond = network(noisy, timesteps, NULL.expand(3, -1, -1), fps=fps).sample
    return torch.lerp(uncond, cond, guidance.view(-1, 1, 1, 1, 1))


def test_losses_are_those_of_regression_on_the_guided_teacher(teacher: VideoUNet, tmp_path: Path) -> None:
    plan = PruningPlan(down=((0,),) * 2, up=((0, 2),) * 2, mid_block=True)
    losses = ImportanceStudy(teacher, NULL, SCHEDULE, DRAWS, work=tmp_path, device="cpu", log=SilentLog()).measure(
        [Change("none", ()), Change("mid", ("mid_block",)), Change("pruned", (), plan)]
    )
    assert losses.samples["none"] == [0.0] * 6
    targets = [guided(teacher, number) for number in range(2)]
    variance = float(torch.cat(targets).var(correction=0))
    assert losses.variance == pytest.approx(variance, rel=1e-4)
    student = prune(teacher, plan, guidance_dim=None).eval()
    with left_out(teacher, ["mid_block"]):
        without = [guided(teacher, number) for number in range(2)]
    for name, outputs in (("mid", without), ("pruned", [guided(student, number) for number in range(2)])):
        samples = [
            float(F.mse_loss(a, b))
            for out, target in zip(outputs, targets, strict=True)
            for a, b in zip(out, target, strict=True)
        ]
        assert losses.samples[name] == pytest.approx(samples, rel=1e-3)
        mean, error = losses.relative(name)
        assert mean == pytest.approx(statistics.fmean(samples) / variance, rel=1e-3)
        assert error == pytest.approx(statistics.stdev(samples) / 6**0.5 / variance, rel=1e-3)
