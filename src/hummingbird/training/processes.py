"""The processes that train together, and the device of this one. One process, where nothing started several."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

T = TypeVar("T")
PATIENCE = timedelta(hours=6)  # the main process may check gates and hash data for long before the others hear of it


def state() -> PartialState:
    """accelerate's view of this process; on a machine without GPU, processes talk by gloo."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def device() -> torch.device:
    """Where this process trains: its own GPU (CUDA or ROCm), or the CPU."""
    where: torch.device = state().device
    return where


def is_main() -> bool:
    """Whether this process writes what a stage makes."""
    return bool(state().is_main_process)


def count() -> int:
    """How many processes train together."""
    return int(state().num_processes)


def as_main(value: T) -> T:
    """What the main process has; every process must ask for it."""
    if count() == 1:
        return value
    found: list[T] = broadcast_object_list([value])
    return found[0]
