"""Optimisers and schedules of the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from hummingbird.errors import UserError
from hummingbird.params import Optim


def make_optimizer(parameters: Sequence[nn.Parameter], optim: Optim) -> torch.optim.Optimizer:
    """AdamW, by torch or with 8-bit states by bitsandbytes.

    Raises:
        UserError: bitsandbytes is asked for and not installed.
    """
    options: dict[str, Any] = {"lr": optim.learning_rate, "betas": optim.betas, "weight_decay": optim.weight_decay}
    if optim.optimizer == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **options)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            f"the optimizer adamw8bit needs bitsandbytes: {error}",
            "pip install bitsandbytes, or set optimizer: adamw in params.yaml",
        ) from error
    made: torch.optim.Optimizer = AdamW8bit(parameters, **options)
    return made


def make_schedule(optimizer: torch.optim.Optimizer, optim: Optim) -> LambdaLR:
    """The learning rate as a function of the number of updates: diffusers' schedules, and one that falls in steps."""
    if optim.lr_schedule == "step":
        if optim.decay_every is None:
            raise UserError("lr_schedule is step, but decay_every is empty", "say after how many steps the rate falls")
        return LambdaLR(optimizer, _falling(optim.warmup_steps, optim.decay_every, optim.decay_rate))
    name = "constant_with_warmup" if optim.lr_schedule == "constant" else optim.lr_schedule
    return get_scheduler(name, optimizer, num_warmup_steps=optim.warmup_steps, num_training_steps=optim.steps)


def _falling(warmup: int, every: int, rate: float) -> Callable[[int], float]:
    def factor(update: int) -> float:
        return min(1.0, (update + 1) / (warmup + 1)) * float(rate ** (update // every))

    return factor


def move_to(schedule: LambdaLR, updates: int) -> None:
    """Put a fresh schedule, and the rate of its optimiser, where they are after ``updates`` updates.

    The rate depends on nothing else, so a checkpoint holds no state of the schedule.
    """
    schedule.last_epoch = updates
    for group, base, factor in zip(
        schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(updates)
    schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]
