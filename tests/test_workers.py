"""Worker processes: as many as there are tasks, and none left over when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hummingbird.workers import process_pool

PARENT = """
import os, time
from hummingbird.workers import process_pool
if __name__ == "__main__":
    with process_pool(2) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_a_single_task_starts_a_single_process() -> None:
    with process_pool(3) as pool:
        worker = pool.submit(os.getpid).result()
        assert worker in {child.pid for child in psutil.Process().children()}
        assert pool.submit(os.getpid).result() == worker


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


def test_ctrl_c_is_heard_by_the_parent_alone() -> None:
    with process_pool(1) as pool:
        worker = pool.submit(os.getpid).result()
        os.kill(worker, signal.SIGINT)
        assert pool.submit(os.getpid).result() == worker


@pytest.mark.parametrize("ending", [KeyboardInterrupt, GeneratorExit])
def test_what_runs_is_ended_when_the_parent_is_interrupted(ending: type[BaseException]) -> None:
    with pytest.raises(ending), process_pool(1) as pool:
        worker = psutil.Process(pool.submit(os.getpid).result())
        running = pool.submit(time.sleep, 600)
        while not running.running():
            time.sleep(0.01)
        raise ending
    assert not worker.is_running()
