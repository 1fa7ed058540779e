"""The servers that the drill's project uses, started for it and ended with it: all of ``hummingbird services``, or,
for the short form, MLflow alone on a file."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import psutil

from evaluation.drill.project import Project, until
from evaluation.drill.rest import Mlflow, ask


class Servers(Protocol):
    """Servers that can be started, killed and started again; what they keep stays."""

    def start(self) -> None:
        """Start what does not run."""

    def stop(self) -> None:
        """End all that was started."""

    def environment(self) -> dict[str, str]:
        """The variables by which programs find them."""

    def kill(self, name: str, *, family: bool = True) -> None:
        """``kill -9`` of one of them; ``family``: and of all processes that it started, as a dying machine does."""


class Services:
    """``hummingbird services`` of the project."""

    def __init__(self, project: Project, environment: dict[str, str]) -> None:
        self._project = project
        self._environment = environment

    def start(self) -> None:
        self._project.call(["hummingbird", "services", "start"], self._environment)

    def stop(self) -> None:
        self._project.call(["hummingbird", "services", "stop"], self._environment)

    def environment(self) -> dict[str, str]:
        said = self._project.call(["hummingbird", "services", "env"], self._environment).stdout
        pairs = [shlex.split(line)[1].partition("=") for line in said.splitlines() if line.startswith("export ")]
        return self._environment | {name: value for name, _, value in pairs}

    def kill(self, name: str, *, family: bool = True) -> None:
        state = json.loads((self._project.folder / ".work/services/state.json").read_text())[name]
        process = psutil.Process(state["pid"])
        if abs(process.create_time() - state["created"]) > 2:
            raise RuntimeError(f"process {process.pid} is not the {name} that was started")
        kill(process, family=family)


class OneServer:
    """MLflow in ``folder``, with its runs in a file of SQLite."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self._port), "--workers", "1",
                   "--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}",
                   "--artifacts-destination", str(self._folder / "artifacts")]  # fmt: skip
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(self._answers, "the MLflow server")

    def stop(self) -> None:
        self.kill("mlflow")

    def environment(self) -> dict[str, str]:
        return self._environment | {"MLFLOW_TRACKING_URI": self._address}

    def kill(self, name: str, *, family: bool = True) -> None:
        if name != "mlflow":
            raise KeyError(name)
        if self._process is not None and self._process.poll() is None:
            kill(psutil.Process(self._process.pid), family=family)
            self._process.wait()

    def _answers(self) -> bool | None:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the MLflow server did not start; see {self._folder / 'mlflow.log'}")
        try:
            return bool(ask(f"{self._address}/api/2.0/mlflow/experiments/search?max_results=1")) or None
        except OSError:
            return None


def mlflow_of(environment: dict[str, str]) -> Mlflow:
    """The MLflow server that an environment names."""
    return Mlflow(environment["MLFLOW_TRACKING_URI"].rstrip("/"))


def kill(process: psutil.Process, *, family: bool) -> None:
    """``kill -9`` of a process, and of all that it started if it is to be the whole ``family``."""
    victims = [process, *(process.children(recursive=True) if family else [])]
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(victims, timeout=30)
