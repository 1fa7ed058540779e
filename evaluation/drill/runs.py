"""Runs of the pipeline: by the deployment in the Prefect server, as the UI starts them, or by plain ``dvc repro``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Protocol

import psutil

from evaluation.drill.project import Project, until
from evaluation.drill.rest import FINAL, Prefect
from hummingbird.files import read_json

COMPLETED = "completed"
LONG = 900.0  # seconds for a run: the slots of a killed one are free a minute later


class Run(Protocol):
    """A run of the pipeline that was started."""

    def wait(self) -> str:
        """Wait until it has ended, or its process is gone; how it ended in a word."""

    def process(self) -> psutil.Process | None:
        """Its own process, above those of the stages; None before it has one."""


class Pipeline(Protocol):
    """A way to run the pipeline."""

    def start(self) -> Run:
        """Start a run of all that is out of date."""


class Deployed:
    """Runs of the deployment ``hummingbird/pipeline``."""

    def __init__(self, project: Project, prefect: Prefect) -> None:
        self.prefect = prefect
        self.started: list[str] = []
        self._project = project

    def start(self) -> Run:
        run = self.prefect.start()
        self.started.append(run)
        return FlowRun(self.prefect, self._project.folder, run)

    def open_runs(self) -> list[str]:
        """Runs that Prefect does not take for ended."""
        states = {run: self.prefect.state(run)[0] for run in self.started}
        return [f"flow run {run} is {state.lower()}" for run, state in states.items() if state not in FINAL]


class FlowRun:
    """A flow run; its process leaves its sign of life in the project."""

    def __init__(self, prefect: Prefect, folder: Path, run: str) -> None:
        self._prefect = prefect
        self._sign = folder / ".work/flows" / f"{run}.json"
        self._run = run
        self._process: psutil.Process | None = None

    def process(self) -> psutil.Process | None:
        sign = read_json(self._sign)
        if self._process is None and sign:
            try:
                found = psutil.Process(sign["pid"])
                self._process = found if abs(found.create_time() - sign["started"]) < 1 else None
            except psutil.NoSuchProcess:
                return None
        return self._process

    def wait(self) -> str:
        return until(self._outcome, "the flow run to end", LONG)

    def _outcome(self) -> str | None:
        process = self.process()
        try:
            state = self._prefect.state(self._run)[0]
        except OSError:
            return None
        if state in FINAL:
            return state.lower()
        return "killed" if process is not None and is_gone(process) else None


class Plain:
    """``dvc repro`` in the project."""

    def __init__(self, project: Project, environment: dict[str, str]) -> None:
        self._project = project
        self._environment = environment

    def start(self) -> Run:
        log = (self._project.record.parent / "dvc.log").open("ab")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "repro"],
                cwd=self._project.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return DvcRun(process)


class DvcRun:
    """A call of ``dvc repro``."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._popen = process

    def process(self) -> psutil.Process | None:
        return psutil.Process(self._popen.pid)

    def wait(self) -> str:
        return "failed" if self._popen.wait(LONG) else COMPLETED


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, also if nobody asked for its status yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
