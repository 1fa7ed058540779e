"""The estimate of what a training takes, and the refusal of what cannot fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hummingbird.errors import UserError
from hummingbird.params import Optim, Training
from hummingbird.training import memory

OPTIM = Optim(steps=1, batch_size=4, learning_rate=1e-3)


class Wide:
    """Two linear layers; the first's input and output are what autograd keeps beside the weights."""

    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 1))
        self.called = 0

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        self.called += 1
        return self.net(batch + torch.randn_like(batch)).sum(), {}


def needed(method: Wide, batch: Tensor, optim: Optim = OPTIM) -> memory.Estimate:
    return memory.estimate(method.loss, batch, list(method.net.parameters()), optim, None)


def test_states_are_those_of_the_optimizer_and_the_average() -> None:
    method = Wide()
    weights = 4 * sum(p.numel() for p in method.net.parameters())
    plain = needed(method, torch.zeros(4, 64))
    assert (plain.gradients, plain.optimizer, plain.average) == (weights, 2 * weights, 0)
    small = needed(method, torch.zeros(4, 64), OPTIM.model_copy(update={"optimizer": "adamw8bit", "ema_decay": 0.9}))
    assert (small.optimizer, small.average) == (weights // 2, weights)


def test_activations_are_what_autograd_keeps_and_grow_with_the_batch() -> None:
    method = Wide()
    one, many = (needed(method, torch.zeros(batch, 64)).activations for batch in (8, 80))
    assert one == 4 * 8 * (64 + 512)
    assert many == 10 * one


def test_the_estimate_computes_nothing_and_leaves_no_gradient() -> None:
    method, batch = Wide(), torch.zeros(4, 64)
    state = torch.get_rng_state()
    needed(method, batch)
    assert method.called == 1
    assert all(p.grad is None for p in method.net.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_needs_values_is_estimated_as_far_as_it_goes() -> None:
    class Asks(Wide):
        def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            loss, figures = super().loss(batch, step)
            return loss * float(loss.detach()), figures

    assert needed(Asks(), torch.zeros(8, 64)).activations >= 4 * 8 * (64 + 512)


def test_what_cannot_fit_is_refused_with_its_parts() -> None:
    huge = memory.Estimate(3_000_000_000, 6_000_000_000, 0, 4_000_000_000)
    with pytest.raises(UserError) as caught:
        memory.check(huge, 10e9, torch.device("cpu"), Training(), "stage 1")
    assert (
        "stage 1 needs at least 13.00 GB more memory (gradients 3.00 GB, optimizer 6.00 GB, activations 4.00 GB)"
        in (caught.value.problem)
    )
    assert "gradient_checkpointing" in caught.value.next_step
    memory.check(memory.Estimate(1, 1, 1, 1), 10e9, torch.device("cpu"), Training(), "stage 1")


def test_shared_states_are_a_share_and_activations_are_not() -> None:
    assert memory.shared(memory.Estimate(8, 16, 8, 100), 4) == memory.Estimate(2, 4, 2, 100)


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    assert memory._left_to_container(tmp_path) == float("inf"), "no such files outside of containers"
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._left_to_container(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._left_to_container(tmp_path) == 700
