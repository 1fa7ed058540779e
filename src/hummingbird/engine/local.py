"""Tasks in worker processes of this machine, which die with their parent."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import psutil

from hummingbird.engine.window import AHEAD, in_order
from hummingbird.errors import UserError
from hummingbird.params import Needs
from hummingbird.workers import available_cores, process_pool

Task = TypeVar("Task")
Result = TypeVar("Result")

_FEW = 64  # clips; fewer are not worth the start of worker processes


def run_locally(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int | None,
    needs: Needs,
    clips: int | None = None,
) -> Generator[Result, None, None]:
    """See :func:`hummingbird.engine.run`. Where the machine holds one task at a time, it runs in this process.

    Raises:
        UserError: a worker process died.
    """
    few = clips is not None and clips <= _FEW
    count = 1 if few else processes(len(tasks) if isinstance(tasks, Sized) else None, workers, needs)
    if count == 1:
        yield from map(function, tasks)
        return
    with _explained(), process_pool(count, threads=max(1, int(needs.cpus))) as pool:

        def begin(task: Task) -> Future[Result]:
            return pool.submit(function, task)

        yield from in_order(tasks, begin, Future.result, Future.cancel, AHEAD * count)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process died in the middle of a task: the system killed it, for want of memory as a rule, or a "
            "library crashed",
            "lower curation.workers or raise memory_gb of the task in params.yaml if memory is short, and run the same "
            "command again: finished work is kept and it goes on from there",
        ) from error


def processes(tasks: int | None, workers: int | None, needs: Needs) -> int:
    """How many of ``tasks`` (none = nobody knows how many) run at a time: as many as the machine's cores, its memory
    and, where they need a GPU, its first GPU hold, ``workers`` at most."""
    cores = int(available_cores() / needs.cpus)
    memory = int(psutil.virtual_memory().total / (needs.memory_gb * 2**30))
    gpu = int(1 / needs.gpus) if needs.gpus else cores
    return max(1, min(cores if tasks is None else tasks, cores, memory, workers or cores, gpu))
