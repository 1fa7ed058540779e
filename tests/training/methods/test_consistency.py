"""Stage 1b: the consistency target, and the average of weights that may give it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hummingbird.training.methods.consistency import ConsistencyDistillation


def method_of(pair: Any, decay: float) -> ConsistencyDistillation:
    return ConsistencyDistillation(
        pair.student, pair.teacher(), pair.schedule, guidance=(2.0, 5.0), target_ema_decay=decay
    )


def move(network: nn.Module) -> None:
    """A training step, as far as the method sees it."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)


def test_without_an_average_the_student_is_its_own_target(pair: Any) -> None:
    method = method_of(pair, 0.0)
    assert method.target is pair.student
    assert method.state_dict() == {}


def test_the_target_is_the_average_of_the_students_weights(pair: Any) -> None:
    method = method_of(pair, 0.9)
    before = {name: p.detach().clone() for name, p in pair.student.named_parameters()}
    move(pair.student)
    method.after_step(0)
    for name, parameter in pair.student.named_parameters():
        expected = 0.9 * before[name] + 0.1 * parameter
        torch.testing.assert_close(method.target.get_parameter(name), expected, msg=name)
    torch.manual_seed(1)
    averaged = method.distil(pair.batch())
    torch.manual_seed(1)
    own = method_of(pair, 0.0).distil(pair.batch())
    assert torch.equal(averaged.clean, own.clean)
    assert not torch.equal(averaged.target, own.target)
    averaged.loss.backward()
    assert all(parameter.grad is None for parameter in method.target.parameters())


def test_a_resumed_average_is_the_one_that_was_saved(pair: Any) -> None:
    method = method_of(pair, 0.9)
    move(pair.student)
    method.after_step(0)
    state = {name: value.clone() for name, value in method.state_dict().items()}
    resumed = method_of(pair, 0.9)  # starts from the student, which has moved on
    resumed.load_state_dict(state)
    for name, value in method.target.state_dict().items():
        assert torch.equal(resumed.target.state_dict()[name], value), name


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_target_has_no_gradient(pair: Any, decay: float) -> None:
    step = method_of(pair, decay).distil(pair.batch())
    assert step.clean.requires_grad
    assert not step.target.requires_grad
