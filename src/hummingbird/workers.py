"""Worker processes for work on many clips that die with their parent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

_FEW = 64  # clips; fewer are not worth the start of worker processes


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def worker_pool(items: int) -> Iterator[ProcessPoolExecutor | None]:
    """As many processes as there are cores, or None where ``items`` are too few; what still waits at the end is
    cancelled."""
    if items <= _FEW:
        yield None
        return
    with process_pool(available_cores()) as pool:
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


def _begin(threads: int | None) -> None:
    """End this process when its parent is gone: after a kill -9 nobody would ever tell it to stop."""
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the libraries load, which is with the first task
    if parent := parent_process():
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
