"""Stages of the pipeline in subprocesses of their own: ``dvc repro --single-item STAGE``.

Single items of one graph may run side by side, whole ``dvc repro`` calls may not (they find each other's outputs
"busy"). Each runs under :mod:`flows.guard`, so that a cancelled, failed or killed run leaves nothing at work.
"""

from __future__ import annotations

import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows import guard
from flows.failures import TAIL, OverdueError, StageError, failure
from hummingbird.errors import UserError
from hummingbird.ops.tracking import PARENT

LAUNCHER = "HUMMINGBIRD_LAUNCHER"
GRACE = "HUMMINGBIRD_GRACE"  # seconds between asking a stage to stop (it saves a checkpoint) and killing it
HEARTBEAT = 30.0  # seconds of silence after which the log says that a stage is still at work


class StageRunner:
    """Runs stages for one pipeline run, at most ``slots`` at a time.

    Args:
        root: the project folder.
        parent: MLflow run that the runs of the stages become children of.
        force: run stages even if nothing changed.

    Raises:
        UserError: :data:`GRACE` is set to no number of seconds.
    """

    def __init__(self, root: Path, parent: str, *, force: bool = False, slots: int = 2) -> None:
        self.root = root
        self.force = force
        self.slots = slots
        self._free = slots
        self._changed = threading.Condition()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._environment = _environment(root, parent)
        self._grace = grace()

    @contextmanager
    def slot(self, *, alone: bool = False) -> Iterator[None]:
        """Wait until fewer than ``slots`` stages run (``alone``: none), and keep the place."""
        count = self.slots if alone else 1
        with self._changed:
            self._changed.wait_for(lambda: self._free >= count or self._stopped)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()

    def run(
        self,
        stage: str,
        say: Callable[[str], None],
        *,
        resource: str = "cpu",
        gpus: int = 0,
        timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Bring ``stage`` up to date: run it, or let DVC restore it from its cache.

        Args:
            say: called with each line that DVC and the stage print, and now and then while they print none.
            resource: what the stage needs, and
            gpus: how many GPUs of it, both for :data:`LAUNCHER`.
            timeout: seconds after which it is stopped.
            environment: further variables for it.

        Raises:
            StageError: the stage failed or was stopped; a subclass says whether another try may help.
        """
        process = self._start(stage, launcher(stage, resource, gpus), environment or {})
        tail: deque[str] = deque(maxlen=TAIL)
        try:
            for line in _lines(process, stage, timeout):
                tail.append(line)
                say(line)
            code = process.wait()
        finally:
            _stop([process], self._grace)
            with self._changed:
                self._running.discard(process)
        if code and self._stopped:
            raise StageError(f"stage {stage} was stopped. To go on from there: dvc repro {stage}")
        if code:
            raise failure(stage, code, tail)

    def stop(self) -> None:
        """Stop what is running, and all that it started; start nothing more."""
        with self._changed:
            self._stopped = True
            processes = list(self._running)
            self._changed.notify_all()
        _stop(processes, self._grace)

    def _start(self, stage: str, before: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        dvc = [sys.executable, "-m", "dvc", "repro", "--single-item", *(["--force"] if self.force else []), stage]
        with self._changed:
            if self._stopped:
                raise StageError(f"stage {stage} was not started: the run is being stopped")
            process = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, str(self._grace), *before, *dvc],
                cwd=self.root,
                env={**self._environment, **environment},
                stdin=subprocess.PIPE,  # nothing is written to it: it closes when this process dies
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
        return process


def launcher(stage: str, resource: str, gpus: int) -> list[str]:
    """The words in :data:`LAUNCHER` that go before the command of a stage, to run it on another machine: for example
    ``srun --job-name={stage} --partition={resource} --gres=gpu:{gpus}``.

    Raises:
        UserError: it names something else than ``{stage}``, ``{resource}`` and ``{gpus}``, or its quotes do not match.
    """
    try:
        words = shlex.split(os.environ.get(LAUNCHER, ""))
        return [word.format(stage=stage, resource=resource, gpus=gpus) for word in words]
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(
            f"{LAUNCHER} cannot be used: {error!r}",
            "it is a command line in which {stage}, {resource} (cpu or gpu) and {gpus} (how many) may stand; see "
            "docs/operations.md",
        ) from error


def grace() -> float:
    """The seconds in :data:`GRACE`.

    Raises:
        UserError: it is set to something else.
    """
    text = os.environ.get(GRACE) or "15"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= threading.TIMEOUT_MAX / 2:
        raise UserError(
            f"{GRACE} is {text!r}, which is no number of seconds",
            "set it to the time that a stage needs to save a checkpoint, as in 60; see docs/operations.md",
        )
    return seconds


def _lines(process: subprocess.Popen[str], stage: str, timeout: float | None) -> Iterator[str]:
    """What a process prints until it ends, and a line each :data:`HEARTBEAT` while it prints none."""
    printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_pump, args=(process, printed), daemon=True).start()
    start = time.monotonic()
    while True:
        left = float("inf") if timeout is None else start + timeout - time.monotonic()
        if left <= 0:
            raise OverdueError(f"stage {stage} was stopped: it took longer than the {timeout:g} s it was given")
        try:
            line = printed.get(timeout=min(HEARTBEAT, left))
        except queue.Empty:
            if left > HEARTBEAT:
                yield f"stage {stage} is at work, for {(time.monotonic() - start) / 60:.1f} min so far"
            continue
        if line is None:
            return
        yield line


def _pump(process: subprocess.Popen[str], printed: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        printed.put(line.rstrip())
    printed.put(None)


def _stop(processes: list[subprocess.Popen[str]], grace: float) -> None:
    """Let the guards end what they guard; kills a guard only if it does not answer."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + grace + guard.KILLED + 5
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(root: Path, parent: str) -> dict[str, str]:
    """This process's environment, with its own ``hummingbird`` first in the path, the code in ``root`` before any
    installed one, and without an outer MLflow run."""
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    if (root / "src/hummingbird").is_dir():
        ours = [str(root.absolute() / "src"), str(root.absolute())]
        env["PYTHONPATH"] = os.pathsep.join([*ours, *filter(None, [env.get("PYTHONPATH")])])
    return env | {PARENT: parent, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
