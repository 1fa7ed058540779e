"""The order in which an epoch reads clips: shuffled, and yet from few shards at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OPEN_SHARDS = 16  # whose clips are mixed with one another


def epoch_order(shards: NDArray[np.int64], seed: int, epoch: int, open_shards: int = OPEN_SHARDS) -> NDArray[np.int64]:
    """A permutation [N] of all clips, of which clip i lies in shard number ``shards[i]``.

    The shards are shuffled and taken ``open_shards`` at a time; the clips of each such group are shuffled among
    themselves. So at any place no more than that many shards are in use, and each is opened once an epoch. Where all
    fit into one group, this is a uniform permutation. It follows from the arguments alone: nothing is read.
    """
    rng = np.random.default_rng([seed, 0, epoch])
    count = int(shards.max()) + 1
    if count <= open_shards:
        return rng.permutation(len(shards))
    group = np.empty(count, np.int64)
    group[rng.permutation(count)] = np.arange(count) // open_shards
    shuffled = rng.permutation(len(shards))
    return shuffled[np.argsort(group[shards[shuffled]], kind="stable")]
