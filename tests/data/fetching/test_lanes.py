from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from hummingbird.data.fetching.lanes import Lanes


def test_no_lane_holds_up_another_and_none_is_overrun() -> None:
    """Lane `a` is stuck until `b` has done all its work."""
    b_done, lock = threading.Event(), threading.Lock()
    busy: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def work(job: tuple[str, int]) -> tuple[str, int]:
        lane, number = job
        with lock:
            busy[lane] += 1
            most[lane] = max(most[lane], busy[lane])
        if lane == "a":
            assert b_done.wait(10)
        elif number == 19:
            b_done.set()
        with lock:
            busy[lane] -= 1
        return job

    lanes: Lanes[tuple[str, int], tuple[str, int]] = Lanes(work, lambda job: job[0], threads=4, per_lane=2, ahead=100)
    jobs = [("a", n) for n in range(20)] + [("b", n) for n in range(20)]
    assert list(lanes.run(jobs, threading.Event())) == jobs
    assert max(most.values()) == 2


def test_jobs_are_not_taken_far_ahead_of_a_slow_one() -> None:
    go = threading.Event()
    taken: list[int] = []

    def work(job: int) -> int:
        if job == 0:
            assert go.wait(10)
        if job == 4:
            go.set()
        return job

    def jobs() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    lanes: Lanes[int, int] = Lanes(work, str, threads=2, per_lane=1, ahead=5)
    outcomes = lanes.run(jobs(), threading.Event())
    assert next(outcomes) == 0
    assert len(taken) == 5
    assert list(outcomes) == list(range(1, 100))


def test_what_a_job_raises_comes_at_its_turn_and_stops_the_others() -> None:
    stop = threading.Event()

    def work(job: int) -> int:
        if job == 2:
            raise OSError("disk full")
        return job

    lanes: Lanes[int, int] = Lanes(work, str, threads=3, per_lane=3, ahead=10)
    results = []
    with pytest.raises(OSError, match="disk full"):
        for result in lanes.run(range(100), stop):
            results.append(result)
    assert results == [0, 1]
    assert stop.is_set()
