"""Results in the tasks' order, from tasks that are taken a bounded number ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Task = TypeVar("Task")
Running = TypeVar("Running")
Result = TypeVar("Result")

AHEAD = 4  # for each task that can run at a time: a slow one holds up nobody before so many others are done


def in_order(
    tasks: Iterable[Task],
    begin: Callable[[Task], Running],
    result_of: Callable[[Running], Result],
    cancel: Callable[[Running], object],
    ahead: int,
) -> Generator[Result, None, None]:
    """The result of every task. At most ``ahead`` tasks have been taken and their results not been given out.

    Whatever ends it, an error or that nobody asks for more, what still runs is cancelled.
    """
    running: deque[Running] = deque()
    try:
        for task in tasks:
            running.append(begin(task))
            if len(running) >= ahead:
                yield result_of(running.popleft())
        while running:
            yield result_of(running.popleft())
    finally:
        for waiting in running:
            cancel(waiting)
