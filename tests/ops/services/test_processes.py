"""Processes are known again, ended with all they started, and never mistaken for others."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from hummingbird.ops.services.processes import Started, end, start

CHILD = "import time; time.sleep(600)"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session={apart})
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def begin(log: Path, code: str) -> Started:
    return start([sys.executable, "-c", code], os.environ, log.parent, log)


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def family(log: Path, apart: bool) -> tuple[Started, int]:
    """A process and the id of its child, in a session of its own if ``apart``."""
    parent = begin(log, PARENT.format(child=CHILD, apart=apart))
    wait_for(lambda: log.read_text().endswith("\n"))
    return parent, int(log.read_text())


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("apart", [False, True])
def test_a_process_ends_with_what_it_started(log: Path, apart: bool) -> None:
    parent, child = family(log, apart)
    assert parent.process() is not None and lives(child)
    end(parent, grace=0.5)
    assert parent.process() is None and not lives(child)


def test_what_a_killed_process_left_in_its_session_is_ended(log: Path) -> None:
    parent, child = family(log, apart=False)
    os.kill(parent.pid, signal.SIGKILL)
    wait_for(lambda: parent.process() is None)
    assert lives(child)
    end(parent)
    assert not lives(child)


def test_another_process_with_the_same_id_is_left_alone(log: Path) -> None:
    other = begin(log, CHILD)
    recorded = Started(other.pid, other.created - 1000)
    assert recorded.process() is None
    end(recorded)
    assert other.process() is not None
    end(other)


@pytest.mark.parametrize("own", [{"mark": ""}, {"mark": "of another start"}, {"created": time.time() + 1000}])
def test_a_group_of_strangers_whose_leader_is_dead_is_left_alone(log: Path, own: dict[str, Any]) -> None:
    """As after a restart of the machine: the ids that were written down are others' now."""
    stranger, child = family(log, apart=False)
    os.kill(stranger.pid, signal.SIGKILL)
    wait_for(lambda: stranger.process() is None)
    end(replace(stranger, **own))
    assert lives(child)
    end(stranger)
    assert not lives(child)


def test_a_process_is_given_time_to_end_by_itself(log: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('tidy', flush=True), sys.exit()))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    process = begin(log, code)
    wait_for(lambda: "ready" in log.read_text())
    end(process)
    assert log.read_text().split() == ["ready", "tidy"]
