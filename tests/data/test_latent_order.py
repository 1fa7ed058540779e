"""Orders of epochs, from the numbers of the clips' shards alone."""

from __future__ import annotations

import numpy as np
import pytest

from hummingbird.data.latent_order import OPEN_SHARDS, epoch_order

SHARDS = np.repeat(np.arange(50), 20)  # 50 shards of 20 clips


def test_every_epoch_has_each_clip_once_and_another_order() -> None:
    orders = [epoch_order(SHARDS, 3, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(1000)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert np.array_equal(orders[1], epoch_order(SHARDS, 3, 1))
    assert not np.array_equal(orders[1], epoch_order(SHARDS, 4, 1))


@pytest.mark.parametrize("open_shards", [1, 7, 16])
def test_no_more_than_so_many_shards_are_in_use_at_any_place(open_shards: int) -> None:
    used = SHARDS[epoch_order(SHARDS, 1, 0, open_shards)]
    first, last = ([int(np.flatnonzero(used == shard)[end]) for shard in range(50)] for end in (0, -1))
    for place in range(len(used)):
        assert sum(a <= place <= b for a, b in zip(first, last, strict=True)) <= open_shards


def test_the_clips_of_a_group_are_mixed_and_groups_change_with_the_epoch() -> None:
    groups = [SHARDS[epoch_order(SHARDS, 1, epoch)][: 16 * 20] for epoch in range(2)]
    assert all(len(set(group.tolist())) == 16 for group in groups)
    assert all(np.mean(np.diff(group) == 0) < 0.15 for group in groups)  # 1 in 16 by chance, nearly all if in turn
    assert set(groups[0].tolist()) != set(groups[1].tolist())


def test_shards_that_fit_together_are_one_permutation() -> None:
    shards = np.repeat(np.arange(OPEN_SHARDS), 5)
    assert np.array_equal(epoch_order(shards, 9, 4), np.random.default_rng([9, 0, 4]).permutation(len(shards)))
