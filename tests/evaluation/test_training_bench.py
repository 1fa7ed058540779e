"""The benchmark of a training step: both orders of work do the same work."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.training_bench import METHODS, ORIGINAL, OURS, make_loops, shares, time_method
from evaluation.untrained import SIZES, build, draw_clips


@pytest.mark.parametrize("method", METHODS)
def test_both_orders_of_work_compute_the_same_loss(tmp_path: Path, method: str) -> None:
    networks = build("tiny", seed=3)
    loops = make_loops(method, networks, draw_clips(SIZES["tiny"], 4, seed=1), "tiny", tmp_path)
    found = {way: [loop.step(step) for step in range(3)] for way, loop in loops.items()}
    for (ours, _), (original, _) in zip(found[OURS], found[ORIGINAL], strict=True):
        assert ours == pytest.approx(original, rel=2e-3)  # latents are cached in half precision
    losses = [loss for loss, _ in found[OURS]]
    assert max(losses) > 1.02 * min(losses)  # other draws would have told
    assert set(found[ORIGINAL][0][1]) == {"decode", "vae", "text", "teacher", "student"}
    assert set(found[OURS][0][1]) == {"read", "teacher", "student"}


def test_each_step_is_timed_and_its_parts_make_up_the_whole() -> None:
    found = time_method("distillation", "tiny", repeats=2, warmup=1)
    assert found["runs"][OURS]["n"] == found["runs"][ORIGINAL]["n"] == 2
    assert found["ratio"]["value"] > 0
    for share in found["share"].values():
        assert sum(share.values()) == pytest.approx(1.0)
    assert shares([{"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 3.0}]) == {"a": 0.25, "b": 0.75}
