"""Tasks in worker processes of this machine, which die with their parent."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import psutil

from hummingbird.params import Needs
from hummingbird.workers import available_cores, process_pool

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 4  # tasks for each process that are handed out before their turn


def run_locally(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None, needs: Needs
) -> Iterator[Result]:
    """See :func:`hummingbird.engine.run`. Where the machine holds one task at a time, it runs in this process."""
    count = processes(len(tasks), workers, needs)
    if count == 1:
        yield from map(function, tasks)
        return
    with process_pool(count, threads=max(1, int(needs.cpus))) as pool:
        waiting = iter(tasks)
        running: deque[Future[Result]] = deque()
        for task in itertools.islice(waiting, _AHEAD * count):
            running.append(pool.submit(function, task))
        while running:
            yield running.popleft().result()
            for task in itertools.islice(waiting, 1):
                running.append(pool.submit(function, task))


def processes(tasks: int, workers: int | None, needs: Needs) -> int:
    """How many tasks run at a time: as many as the machine's cores and memory hold, ``workers`` at most, and one
    where a GPU is needed (this engine does not share them out)."""
    cores = int(available_cores() / needs.cpus)
    memory = int(psutil.virtual_memory().total / (needs.memory_gb * 2**30))
    return max(1, min(tasks, cores, memory, workers or cores, 1 if needs.gpus else cores))
