"""Results in the tasks' order, from as many processes as the machine holds."""

from __future__ import annotations

import os
import time

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


def test_one_task_at_a_time_stays_in_this_process() -> None:
    [found] = engine.run(slow_first, [7], Curation(workers=8), TINY)
    assert found[:2] == (7, os.getpid())
    assert list(engine.run(slow_first, [], Curation(), TINY)) == []


def test_needs_bound_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_cores", lambda: 16)
    assert local.processes(100, None, Needs(cpus=1.0, memory_gb=0.01)) == 16
    assert local.processes(5, None, Needs(cpus=1.0, memory_gb=0.01)) == 5
    assert local.processes(100, None, Needs(cpus=5.0, memory_gb=0.01)) == 3
    assert local.processes(100, 2, Needs(cpus=1.0, memory_gb=0.01)) == 2
    assert local.processes(100, None, Needs(cpus=32.0, memory_gb=0.01)) == 1
    assert local.processes(100, None, Needs(cpus=1.0, memory_gb=10_000.0)) == 1
    assert local.processes(100, None, Needs(cpus=1.0, gpus=1.0, memory_gb=0.01)) == 1
