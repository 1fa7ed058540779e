"""Worker processes for work on many clips that die with their parent."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEW = 64  # clips; fewer are not worth the start of worker processes


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def worker_pool(items: int, processes: int | None = None) -> Iterator[ProcessPoolExecutor | None]:
    """As many processes as there are cores, or as are asked for; None where ``items`` are too few. What still waits at
    the end is cancelled."""
    if items <= _FEW:
        yield None
        return
    with process_pool(processes or available_cores()) as pool:
        yield pool


@contextmanager
def process_pool(processes: int, threads: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes; what still waits at the end is cancelled. ``threads``: of numerical libraries, in
    each (none = as they like)."""
    context = get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(threads,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def lazy_map(
    pool: ProcessPoolExecutor | None, work: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None
) -> Iterator[Result]:
    """As ``pool.map``, in the order of ``items``, but for lists without end: at most ``ahead`` items (none = two for
    each core) have been taken and their results not given out. Without a pool, here and now."""
    if pool is None:
        yield from map(work, items)
        return
    most = ahead or 2 * available_cores()
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin(threads: int | None) -> None:
    """End this process when its parent is gone: after a kill -9 nobody would ever tell it to stop."""
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the libraries load, which is with the first task
    if parent := parent_process():
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
