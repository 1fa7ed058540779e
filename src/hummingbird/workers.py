"""Worker processes for work on many clips that die with their parent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def process_pool(processes: int, threads: int = 1) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes, with so many threads of numerical libraries in each. They start with the first tasks;
    what still waits at the end is cancelled. Ctrl-C, or that nobody asks for more, ends what runs as well."""
    context = get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(threads,))
    try:
        yield pool
    except (KeyboardInterrupt, GeneratorExit):
        for process in list((pool._processes or {}).values()):  # public from Python 3.14 on, as terminate_workers
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(threads: int) -> None:
    """End this process when its parent is gone: after a kill -9 nobody would ever tell it to stop. A terminal's Ctrl-C
    goes to all processes; only the parent heeds it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the libraries load, which is with the first task
    if parent := parent_process():
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
