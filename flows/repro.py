"""Stages of the pipeline in subprocesses of their own: ``dvc repro --single-item STAGE``.

Single items of one graph may run side by side, whole ``dvc repro`` calls may not (they find each other's outputs
"busy"). DVC runs in its own process group, so that a cancelled run stops everything it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hummingbird.ops.tracking import PARENT

GRACE = 15.0  # seconds between asking a stage to stop (it saves a checkpoint) and killing it
BUSY = ("is busy", "Unable to acquire lock")  # another DVC process is at work; it will be done soon


class StageError(Exception):
    """A stage did not finish; its own message is in the log."""


class BusyError(Exception):
    """Another DVC process held what the stage needs. Worth another try."""


class StageRunner:
    """Runs stages for one pipeline run, at most ``slots`` at a time.

    Args:
        root: the project folder.
        parent: MLflow run that the runs of the stages become children of.
        force: run stages even if nothing changed.
    """

    def __init__(self, root: Path, parent: str, *, force: bool = False, slots: int = 2) -> None:
        self.root = root
        self.force = force
        self.slots = slots
        self._free = slots
        self._changed = threading.Condition()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._environment = _environment(parent)

    def run(self, stage: str, say: Callable[[str], None], *, alone: bool = False) -> None:
        """Bring ``stage`` up to date: run it, or let DVC restore it from its cache.

        Args:
            say: called with each line that DVC and the stage print.
            alone: run nothing else meanwhile, because the stage measures time.

        Raises:
            BusyError: another DVC process was in the way.
            StageError: the stage failed or was stopped.
        """
        with self._slots(self.slots if alone else 1):
            code, busy = self._run(stage, say)
        if code and busy:
            raise BusyError(f"stage {stage}: another DVC process is at work")
        if code:
            raise StageError(f"stage {stage} failed; what it said is above. To go on from there: dvc repro {stage}")

    def stop(self) -> None:
        """Stop what is running, and all that it started; start nothing more."""
        with self._changed:
            self._stopped = True
            processes = list(self._running)
            self._changed.notify_all()
        _stop(processes)

    def _run(self, stage: str, say: Callable[[str], None]) -> tuple[int, bool]:
        process = self._start(stage)
        busy = False
        try:
            assert process.stdout is not None
            for line in process.stdout:
                busy = busy or any(sign in line for sign in BUSY)
                say(line.rstrip())
            return process.wait(), busy
        finally:
            if process.poll() is None:
                _stop([process])
            with self._changed:
                self._running.discard(process)

    def _start(self, stage: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dvc", "repro", "--single-item", *(["--force"] if self.force else []), stage]
        with self._changed:
            if self._stopped:
                raise StageError(f"stage {stage} was not started: the run is being stopped")
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
        return process

    @contextmanager
    def _slots(self, count: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count or self._stopped)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


def _stop(processes: list[subprocess.Popen[str]]) -> None:
    """End the process groups of ``processes``. DVC dies of SIGTERM at once; the stage below it is given its time."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while any(map(_group_lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in processes:
        _signal(process, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + GRACE
    while any(map(_group_lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)  # killed, but not gone yet


def _group_lives(process: subprocess.Popen[str]) -> bool:
    process.poll()  # takes the leader off the list of processes if it has ended
    return _signal(process, 0)


def _signal(process: subprocess.Popen[str], number: int) -> bool:
    """Send a signal to a process group; False if none of it is left. (macOS says EPERM of a group of the dead.)"""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _environment(parent: str) -> dict[str, str]:
    """This process's environment, with its own ``hummingbird`` first in the path and without an outer MLflow run."""
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    return env | {PARENT: parent, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
