"""Worker processes: none for a handful of clips, and none left over when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from hummingbird.workers import lazy_map, worker_pool

PARENT = """
import os, time
from hummingbird.workers import worker_pool
if __name__ == "__main__":
    with worker_pool(1000) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_a_handful_of_clips_gets_no_processes() -> None:
    with worker_pool(3) as pool:
        assert pool is None


def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_results_come_in_order_and_items_are_taken_as_needed() -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for taken in range(100):
            yield -taken

    with worker_pool(100) as pool:
        results = lazy_map(pool, abs, numbers(), ahead=5)
        assert [next(results) for _ in range(10)] == list(range(10))
        assert taken < 10 + 5
        assert list(results) == list(range(10, 100))
    assert list(lazy_map(None, abs, range(-3, 0), ahead=5)) == [3, 2, 1]
