"""Random starts that are the same in every process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is drawn here on the CPU follows from ``seed`` alone, and changes nothing that is drawn later.

    Weights and adapters that processes train together have to start alike, and nobody sends them around.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
