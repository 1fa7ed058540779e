"""Giving up early: on numbers that are not finite, on explosions, on flat or flickering samples."""

from __future__ import annotations

import pytest
import torch

from hummingbird.errors import UserError
from hummingbird.params import Guard
from hummingbird.training.guard import CollapseError, LossWatch, check_samples

GUARD = Guard(explosion=10, patience=3)


def usual(sign: float = 1) -> list[float]:
    return [sign * (1 + 0.1 * (step % 7)) for step in range(60)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_the_end(bad: float) -> None:
    with pytest.raises(UserError, match="the loss of stage 1 is not finite at step 60"):
        LossWatch(GUARD, "stage 1", usual())(bad, 60)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_explosion_ends_after_the_patience(sign: float) -> None:
    watch = LossWatch(GUARD, "stage 1", usual(sign))
    watch(50.0, 60)
    watch(50.0, 61)
    assert not watch.calm
    with pytest.raises(UserError, match="exploded: 50 at step 62"):
        watch(50.0, 62)


def test_one_bad_batch_is_no_explosion() -> None:
    watch = LossWatch(GUARD, "stage 1", usual())
    for step in range(60, 90):
        watch(50.0 if step % 2 else 1.0, step)
    assert not watch.calm
    watch(1.0, 90)
    assert watch.calm


def test_a_training_that_goes_on_remembers_what_was_usual() -> None:
    series = [*usual(), 50.0, 50.0]
    watch = LossWatch(GUARD, "stage 1", series)
    with pytest.raises(UserError, match="exploded"):
        watch(50.0, 62)


def test_the_first_losses_of_a_training_may_be_anything() -> None:
    watch = LossWatch(GUARD, "stage 1")
    for step in range(19):
        watch(1e6 if step % 5 == 0 else 1e-3, step)
    assert watch.calm


def videos(values: torch.Tensor) -> torch.Tensor:
    return values.expand(2, 4, 3, 8, 8)


def test_good_samples_are_measured() -> None:
    ramp = torch.linspace(0, 1, 8)
    figures = check_samples(videos(ramp), Guard(), 5)
    assert figures["samples/spread"] == pytest.approx(float(videos(ramp)[0].std()))
    assert figures["samples/flicker"] == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (torch.full((2, 4, 3, 8, 8), 0.5), "one flat colour"),
        (torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 4, 1, 1, 1).expand(2, 4, 3, 8, 8), "flicker like noise"),
    ],
)
def test_a_collapse_is_named(broken: torch.Tensor, said: str) -> None:
    with pytest.raises(CollapseError, match=f"samples of step 7 .*{said}"):
        check_samples(broken, Guard(), 7)
