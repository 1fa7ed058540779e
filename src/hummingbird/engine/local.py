"""Tasks in worker processes of this machine, which die with their parent."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sized
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Generic, TypeVar

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
    crashed: Callable[[Task], Result] | None = None,
) -> Generator[Result, None, None]:
    """See :func:`hummingbird.engine.run`. Where the machine holds one task at a time, it runs in this process, and dies
    with it.

    Raises:
        UserError: a worker process died of a task, and of the same one again.
    """
    few = clips is not None and clips <= _FEW
    count = 1 if few else processes(len(tasks) if isinstance(tasks, Sized) else None, workers, needs)
    if count == 1:
        yield from map(function, tasks)
        return
    with ExitStack() as stack:
        pool = _Pool(function, count, max(1, int(needs.cpus)), crashed, stack)
        yield from in_order(tasks, pool.begin, pool.result, lambda running: running[1].cancel(), AHEAD * count)


class _Pool(Generic[Task, Result]):
    """Worker processes, all of them started anew when one dies. What was running then runs again, each task in a
    process of its own, so that a task which kills its process takes no other with it."""

    def __init__(
        self,
        function: Callable[[Task], Result],
        count: int,
        threads: int,
        crashed: Callable[[Task], Result] | None,
        stack: ExitStack,
    ) -> None:
        self._function, self._count, self._threads, self._crashed = function, count, threads, crashed
        self._stack = stack
        self._pool = stack.enter_context(process_pool(count, threads))

    def begin(self, task: Task) -> tuple[Task, Future[Result]]:
        try:
            return task, self._pool.submit(self._function, task)
        except BrokenProcessPool:
            self._pool = self._stack.enter_context(process_pool(self._count, self._threads))
            return task, self._pool.submit(self._function, task)

    def result(self, running: tuple[Task, Future[Result]]) -> Result:
        task, future = running
        try:
            return future.result()
        except BrokenProcessPool:
            return self._alone(task)

    def _alone(self, task: Task) -> Result:
        with process_pool(1, self._threads) as pool:
            try:
                return pool.submit(self._function, task).result()
            except BrokenProcessPool as error:
                if self._crashed is not None:
                    return self._crashed(task)
                raise UserError(
                    "a worker process died in the middle of a task, and again when it ran alone: the system killed it, "
                    "for want of memory as a rule, or a library crashed",
                    "lower curation.workers or raise memory_gb of the task in params.yaml if memory is short, and run "
                    "the same command again: finished work is kept and it goes on from there",
                ) from error


def processes(tasks: int | None, workers: int | None, needs: Needs) -> int:
    """How many of ``tasks`` (none = nobody knows how many) run at a time: as many as the machine's cores, its memory
    and, where they need a GPU, its first GPU hold, ``workers`` at most."""
    cores = int(available_cores() / needs.cpus)
    memory = int(psutil.virtual_memory().total / (needs.memory_gb * 2**30))
    gpu = int(1 / needs.gpus) if needs.gpus else cores
    return max(1, min(cores if tasks is None else tasks, cores, memory, workers or cores, gpu))
