"""Results in the tasks' order, from as many processes as the machine holds."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from hummingbird import engine
from hummingbird.engine import local
from hummingbird.errors import UserError
from hummingbird.params import Curation, Needs

TINY = Needs(cpus=0.1, memory_gb=0.01)


def slow_first(task: int) -> tuple[int, int, str | None]:
    time.sleep(0.5 if task == 0 else 0)
    return task, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def fails_at_three(task: int) -> int:
    if task == 3:
        raise UserError("three", "take four")
    return task


def test_results_keep_the_order_of_the_tasks() -> None:
    found = list(engine.run(slow_first, range(20), Curation(workers=2), TINY))
    assert [task for task, _, _ in found] == list(range(20))
    assert os.getpid() not in {process for _, process, _ in found}
    assert {threads for _, _, threads in found} == {"1"}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through_and_ends_the_work(workers: int) -> None:
    results = engine.run(fails_at_three, range(1000), Curation(workers=workers), TINY)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="take four"):
        next(results)


def dies_at_three(task: int) -> int:
    if task == 3:
        os._exit(1)
    return task


def test_a_worker_that_dies_is_explained() -> None:
    with pytest.raises(UserError, match="a worker process died") as caught:
        list(engine.run(dies_at_three, range(10), Curation(workers=2), TINY))
    assert "finished work is kept" in caught.value.next_step


def test_a_task_that_kills_its_process_takes_no_other_with_it() -> None:
    results = engine.run(dies_at_three, range(20), Curation(workers=2), TINY, crashed=lambda task: -task)
    assert list(results) == [0, 1, 2, -3, *range(4, 20)]


def test_one_task_at_a_time_stays_in_this_process() -> None:
    [found] = engine.run(slow_first, [7], Curation(workers=8), TINY)
    assert found[:2] == (7, os.getpid())
    assert list(engine.run(slow_first, [], Curation(), TINY)) == []


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def heavy(task: int) -> bytes:
    return bytes([task % 256]) * 2**23


def test_tasks_without_end_are_taken_as_needed() -> None:
    results = engine.run(slow_first, endless(), Curation(workers=2), TINY)
    assert [next(results)[0] for _ in range(30)] == list(range(30))
    results.close()


def test_large_results_never_lie_in_memory_all_at_once() -> None:
    """50 of 8 MiB. At most eight wait, for two processes; some more are on their way."""
    tracemalloc.start()
    try:
        for number, result in enumerate(engine.run(heavy, range(50), Curation(workers=2), TINY)):
            assert result[0] == number
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**23


@pytest.mark.parametrize(("clips", "alone"), [(None, False), (64, True), (65, False)])
def test_a_handful_of_clips_starts_no_process(clips: int | None, alone: bool) -> None:
    found = list(engine.run(slow_first, iter(range(3)), Curation(workers=2), TINY, clips))
    assert ({process for _, process, _ in found} == {os.getpid()}) is alone


def test_needs_bound_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_cores", lambda: 16)
    assert local.processes(100, None, Needs(cpus=1.0, memory_gb=0.01)) == 16
    assert local.processes(5, None, Needs(cpus=1.0, memory_gb=0.01)) == 5
    assert local.processes(100, None, Needs(cpus=5.0, memory_gb=0.01)) == 3
    assert local.processes(100, 2, Needs(cpus=1.0, memory_gb=0.01)) == 2
    assert local.processes(100, None, Needs(cpus=32.0, memory_gb=0.01)) == 1
    assert local.processes(100, None, Needs(cpus=1.0, memory_gb=10_000.0)) == 1
    assert local.processes(None, None, Needs(cpus=1.0, memory_gb=0.01)) == 16
    assert local.processes(100, None, Needs(cpus=1.0, gpus=1.0, memory_gb=0.01)) == 1
    assert local.processes(100, None, Needs(cpus=1.0, gpus=0.25, memory_gb=0.01)) == 4
    assert local.processes(100, None, Needs(cpus=1.0, gpus=2.0, memory_gb=0.01)) == 1
