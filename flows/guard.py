"""Stands between a run of the pipeline and a command it starts, so that nothing of the command outlives either.

    python guard.py SECONDS COMMAND...

The command gets a process group of its own. The group, and on Linux whatever the command started outside it (torchrun
gives each of its workers a session), is ended when the guard is asked to stop (SIGTERM), when the process that started
the guard is gone (its end of standard input closes, even by kill -9), and when the command itself died and left
something running: asked first, and killed after SECONDS. Ends with the status of the command; 128 + N if signal N ended
it. Needs nothing but the standard library, and starts in a blink.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

KILLED = 15.0  # seconds to wait for what was killed; what hangs in a driver dies later, or never
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2): whose parent dies becomes this process's child, not init's


def run(command: list[str], grace: float) -> int:
    """Run ``command`` to its end, or until it is to stop; then give it ``grace`` seconds. Returns its status."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    family = Family(child.pid)
    threading.Thread(target=_wait_for_orphanhood, args=(stop,), daemon=True).start()
    threading.Thread(target=_end_when, args=(stop, family, grace), daemon=True).start()
    code = child.wait()
    family.end(grace)
    return code if code >= 0 else 128 - code


class Family:
    """The process group of a command, and all descendants of this process that are outside it."""

    def __init__(self, group: int) -> None:
        self.group = group
        self._ending = threading.Lock()
        self._ended = False

    def end(self, grace: float) -> None:
        """End it, or wait until another thread has: who is asked twice may be disturbed while it saves a checkpoint."""
        with self._ending:
            if not self._ended:
                self._ask(grace)
                self._kill()
            self._ended = True

    def _ask(self, grace: float) -> None:
        """Give it ``grace`` seconds to end. DVC dies of SIGTERM at once; the stage below it is given its time.

        Those outside the group are asked by whoever started them, and by us only when nobody in the group is left to.
        """
        deadline = time.monotonic() + grace
        asked: set[int] = set()
        _signal(os.killpg, self.group, signal.SIGTERM)
        while any(left := self._left()) and time.monotonic() < deadline:
            in_group, outside = left
            for process in set() if in_group else outside - asked:
                _signal(os.kill, process, signal.SIGTERM)
                asked.add(process)
            time.sleep(0.05)

    def _kill(self) -> None:
        deadline = time.monotonic() + KILLED
        while any(left := self._left()) and time.monotonic() < deadline:
            _signal(os.killpg, self.group, signal.SIGKILL)
            for process in left[1]:
                _signal(os.kill, process, signal.SIGKILL)
            time.sleep(0.05)

    def _left(self) -> tuple[bool, set[int]]:
        """Whether any of the group lives, and which descendants of this process live outside it."""
        if sys.platform != "linux":
            return _signal(os.killpg, self.group, 0), set()
        table, me = _processes(), os.getpid()
        ours, more = {me}, {me}
        while more:
            more = {process for process, (_, parent, _) in table.items() if parent in more} - ours
            ours |= more
        dead = {process for process, (state, _, _) in table.items() if state in ("Z", "X")}
        for process in ours & dead - {self.group}:  # the command itself is waited for elsewhere
            if table[process][1] == me:
                os.waitpid(process, os.WNOHANG)  # it was adopted, and nobody else will
        group = {process for process, (_, _, group) in table.items() if group == self.group}
        return bool(group - dead), ours - dead - group - {me}


def _processes() -> dict[int, tuple[str, int, int]]:
    """State, parent and group of every process."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent, group = file.read().rpartition(b")")[2].split()[:3]
        except OSError:  # it has ended meanwhile
            continue
        found[int(name)] = (state.decode(), int(parent), int(group))
    return found


def _wait_for_orphanhood(stop: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)  # nobody writes; it returns when the other end is closed
    stop.set()


def _end_when(stop: threading.Event, family: Family, grace: float) -> None:
    stop.wait()
    family.end(grace)


def _signal(send: Callable[[int, int], None], to: int, number: int) -> bool:
    """Send a signal; False if nobody is left to get it. (macOS says EPERM of a group of the dead.)"""
    try:
        send(to, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:], float(sys.argv[1])))
