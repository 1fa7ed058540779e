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


@contextmanager
def worker_pool(items: int, processes: int | None = None) -> Iterator[ProcessPoolExecutor | None]:
    """As many processes as there are cores, or as are asked for; None where ``items`` are too few. What still waits at
    the end is cancelled."""
    if items <= _FEW:
        yield None
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ProcessPoolExecutor(processes or cores, mp_context=get_context("spawn"), initializer=_die_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """End this process when its parent is gone: after a kill -9 nobody would ever tell it to stop."""
    if parent := parent_process():
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
