from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

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


def test_threads_that_do_not_stop_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one after the other. Each wait here lasts as long as it may, by a clock of its own."""
    now = 0.0

    def wait(self: threading.Thread, timeout: float | None = None) -> None:
        nonlocal now
        assert timeout is not None
        now += timeout

    lanes: Lanes[int, int] = Lanes(lambda job: job, str, threads=20, per_lane=20, ahead=100)
    results = lanes.run(range(100), threading.Event())
    assert next(results) == 0
    monkeypatch.setattr("hummingbird.data.fetching.lanes.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(threading.Thread, "join", wait)
    results.close()
    assert now == 0.5


def test_many_lanes_cost_no_scan_of_those_that_wait() -> None:
    """Each lane is looked at by its hash, and never compared with all others."""
    compared = 0

    class Lane(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    lanes: Lanes[int, int] = Lanes(lambda job: job, lambda job: Lane(job), threads=1, per_lane=1, ahead=1000)
    assert list(lanes.run(range(1000), threading.Event())) == list(range(1000))
    assert compared < 20_000
