"""Processes that outlive the command which starts them: started in a session of their own, known again by process id
and time of creation, ended with all that they started.

Each start puts a mark of its own into the environment, which all that it starts inherit. What a dead process left is
known by this mark: its id, and the id of its group, may be strangers' by now, as after the machine was started again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

CLOCK_SLACK = 2.0  # seconds by which the creation time of one process may seem to move when the clock is set
MARK = "HUMMINGBIRD_SERVICE"  # variable that holds the mark
KILLED_GRACE = 10.0  # seconds until what was killed is off the list of processes


@dataclass(frozen=True)
class Started:
    """A process that was started; its id alone would be another's after this one has died. ``mark``: what it and its
    descendants have in their environment, and no other process does."""

    pid: int
    created: float
    mark: str = ""

    def process(self) -> psutil.Process | None:
        """The process, if it still lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < CLOCK_SLACK
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def listens(started: Started, port: int) -> bool:
    """Whether the process, or one that it started, is the server on ``port``, rather than some other project's."""
    process = started.process()
    for one in [process, *_descendants(process)] if process else []:
        try:
            connections = one.net_connections("tcp")
        except psutil.Error:  # it has just ended
            continue
        if any(it.status == psutil.CONN_LISTEN and it.laddr.port == port for it in connections):
            return True
    return False


def start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, user: str | None = None
) -> Started:
    """Start ``command`` in ``folder`` with its output appended to ``log``; as ``user`` if this process is root's."""
    log.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=group_of(user),
            extra_groups=None if user is None else [],
        )
    return Started(process.pid, psutil.Process(process.pid).create_time(), mark)


def group_of(user: str | None) -> int | None:
    """The first group of ``user``."""
    import pwd

    return None if user is None else pwd.getpwnam(user).pw_gid


def end(started: Started, number: signal.Signals = signal.SIGTERM, grace: float = 30.0) -> None:
    """Ask the process to end, then kill it and all its descendants that are left after ``grace`` seconds.

    A process that has died already may have left others in its group; they are killed.
    """
    process = started.process()
    if process is None:
        kill_remains(started)
        return
    family = [process, *_descendants(process)]
    process.send_signal(number)
    _, left = psutil.wait_procs(family, timeout=grace)
    for one in left:
        try:
            one.kill()  # psutil compares creation times first
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=KILLED_GRACE)
    kill_remains(started)


def kill_remains(started: Started) -> None:
    """Kill what a dead process left in its group. A process that has the group's id but not the mark is left alone."""
    deadline = time.monotonic() + KILLED_GRACE
    while (remains := _remains(started)) and time.monotonic() < deadline:
        for one in remains:
            try:
                one.kill()  # psutil compares creation times first
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(remains, timeout=deadline - time.monotonic())


def _remains(started: Started) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == started.pid and _is_of(started, process):
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return found


def _is_of(started: Started, process: psutil.Process) -> bool:
    """Whether a live process comes from this start. (The environment of a zombie cannot be read.)"""
    return bool(
        started.mark
        and process.status() != psutil.STATUS_ZOMBIE
        and process.create_time() > started.created - CLOCK_SLACK
        and process.environ().get(MARK) == started.mark
    )


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []
