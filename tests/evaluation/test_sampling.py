"""Sampling goes on after a kill with what is there, and mixes up no prompts, seeds, models or settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.comparison import Judged, compare, describe
from evaluation.vbench.prompts import build_suite
from evaluation.vbench.sampling import Job, fingerprint, sample, spread_over_seeds
from hummingbird.runlog import SilentLog

SUITE = build_suite(10, 0, seed=1)
JOBS = spread_over_seeds(range(10), (1, 2, 3))


class Fake:
    """Writes each noise seed into its clip; is killed at the call ``dies_at``."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.calls = 0
        self.dies_at = dies_at

    def __call__(self, prompts: list[str], seeds: list[int], *, negative_prompt: str | None = None) -> np.ndarray:
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        value = [
            (seed + len(prompt) + len(negative_prompt or "")) % 251 for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        return np.array(value, np.uint8).reshape(-1, 1, 1, 1, 1).repeat(3, axis=-1)


def _sample(generator: Fake, cache: Path, jobs: list[Job] = JOBS, negative_prompt: str | None = None) -> np.ndarray:
    return sample(generator, jobs, SUITE, cache, SilentLog(), batch_size=4, negative_prompt=negative_prompt)


def test_a_killed_run_goes_on_and_gives_the_same_clips(tmp_path: Path) -> None:
    whole = _sample(Fake(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _sample(Fake(dies_at=3), tmp_path / "cut")
    again = Fake()
    assert np.array_equal(_sample(again, tmp_path / "cut"), whole)
    assert again.calls == 1  # two of the three batches were there


def test_half_a_file_is_never_taken_for_a_batch(tmp_path: Path) -> None:
    _sample(Fake(), tmp_path)
    first = sorted(tmp_path.glob("*.npy"))[0]
    first.rename(first.with_name(f".{first.name}.part"))  # as a kill in the middle of writing leaves it
    again = Fake()
    _sample(again, tmp_path)
    assert again.calls == 1


def test_another_negative_prompt_is_another_clip(tmp_path: Path) -> None:
    plain = _sample(Fake(), tmp_path)
    other = Fake()
    assert not np.array_equal(_sample(other, tmp_path, negative_prompt="dark"), plain)
    assert other.calls == 3


def test_prompts_keep_their_seed_in_any_selection() -> None:
    assert spread_over_seeds(range(4, 7), (1, 2, 3)) == JOBS[4:7]
    assert {job.seed for job in JOBS} == {1, 2, 3}


def test_the_fingerprint_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "weights").write_bytes(b"1")
    before = fingerprint([tmp_path / "a"])
    assert fingerprint([tmp_path / "a"]) == before
    (tmp_path / "a" / "weights").write_bytes(b"2")
    changed = fingerprint([tmp_path / "a"])
    (tmp_path / "a" / "weights").rename(tmp_path / "a" / "other")
    assert len({before, changed, fingerprint([tmp_path / "a"])}) == 3


def test_comparison_pairs_the_clips_that_both_models_have() -> None:
    old = Judged({"reward": np.arange(9.0)}, [1, 2, 3] * 3)
    new = Judged({"reward": np.arange(6.0) + 0.5}, [1, 2, 3] * 2)
    delta = compare(new, old)["reward"]
    assert delta["n"] == 6
    assert delta["value"] == pytest.approx(0.5)
    assert delta["excludes_zero"]
    assert {seed: part["n"] for seed, part in delta["seeds"].items()} == {"1": 2, "2": 2, "3": 2}
    assert describe(old)["seeds"]["3"] == {"n": 3, "reward": pytest.approx((2 + 5 + 8) / 3)}


def test_clips_of_different_seeds_are_not_pairs() -> None:
    values = {"reward": np.ones(3)}
    with pytest.raises(ValueError, match="not pairs"):
        compare(Judged(values, [1, 2, 3]), Judged(values, [1, 3, 2]))
