"""How much memory a training step will take, before it is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._pytree import tree_map

from hummingbird.errors import UserError
from hummingbird.params import Optim, Training

GB = 1e9
#: What a loss raises that cannot go on without values. What was counted so far stands.
_NEEDS_VALUES = (DataDependentOutputException, DynamicOutputShapeException)


@dataclass(frozen=True)
class Estimate:
    """Bytes that training adds to what is loaded already; what single operations need for a moment is not in it."""

    gradients: int
    optimizer: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        return self.gradients + self.optimizer + self.average + self.activations

    def __str__(self) -> str:
        parts = vars(self).items()
        return ", ".join(f"{name} {size / GB:.2f} GB" for name, size in parts if size)


def estimate(
    loss: Callable[[Any, int], Any],
    batch: Any,
    parameters: Sequence[nn.Parameter],
    optim: Optim,
    mixed: torch.dtype | None,
) -> Estimate:
    """What a step needs: counted on tensors that have shapes and no values, so nothing is computed or allocated.

    Activations are what autograd keeps of one part for the backward pass.

    Args:
        loss: a method's loss.
        mixed: dtype of autocast; None = none.
    """
    trained = sum(p.numel() * p.element_size() for p in parameters)
    per_value = 2 if optim.optimizer == "adamw8bit" else 8
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = tree_map(lambda value: mode.from_tensor(value) if isinstance(value, Tensor) else value, batch)
        device = parameters[0].device.type
        autocast = torch.autocast(device, dtype=mixed, enabled=mixed is not None)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast, suppress(*_NEEDS_VALUES):
            loss(fake, 0)
    return Estimate(
        trained, per_value * sum(p.numel() for p in parameters), trained if optim.ema_decay else 0, sum(kept.values())
    )


def free_bytes(device: torch.device) -> float:
    """Memory that this process can still get on a GPU, what torch holds in reserve included, or on this machine."""
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + reserve
    return min(int(psutil.virtual_memory().available), _left_to_container())


def _left_to_container(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that a container's limit leaves, which the machine's own figures do not show; no limit: infinitely many."""
    try:
        most, taken = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return math.inf
    return math.inf if most == "max" else float(most) - float(taken)


def shared(needed: Estimate, processes: int) -> Estimate:
    """What one process needs where the states are shared out."""
    states = (needed.gradients // processes, needed.optimizer // processes, needed.average // processes)
    return Estimate(*states, needed.activations)


def check(needed: Estimate, free: float, device: torch.device, training: Training, description: str) -> None:
    """Refuse a training that cannot fit.

    Args:
        free: bytes that this process may have.

    Raises:
        UserError: with the estimate by its parts, and what to change.
    """
    if needed.total > training.memory_share * free:
        advice = [] if training.gradient_checkpointing else ["set training.gradient_checkpointing to true"]
        advice += ["halve batch_size and double accumulate", "raise training.memory_share if you know better"]
        raise UserError(
            f"{description} needs at least {needed.total / GB:.2f} GB more memory ({needed}), but {free / GB:.2f} GB "
            f"of {device} are free and training.memory_share is {training.memory_share}",
            f"in params.yaml: {'; or '.join(advice)}",
        )
