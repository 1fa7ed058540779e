"""A project with one toy stage in a temporary folder: what the runner and the tracking are tested on."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from hummingbird.layout import Layout
from hummingbird.ops import runner, server, tracking
from hummingbird.params import Params, dump_params
from hummingbird.runlog import RunLog

Stage = Callable[[Params, Layout, RunLog], dict[str, float]]


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the runs of the tests out of the project's own MLflow, and the outer run out of the tests."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", tracking.PARENT):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without content; making them takes seconds, copying them does not."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path: Path, empty_database: Path) -> Path:
    """A project folder whose stage ``toy`` depends on ``code.py`` (small) and ``big.bin`` (2 MiB)."""
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / "big.bin").write_bytes(bytes(2 << 20))
    (tmp_path / "params.yaml").write_text(dump_params(Params(seed=7)))
    toy = {"cmd": "hummingbird stage toy", "deps": ["code.py", "big.bin"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"toy": toy}}))
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage], None]:
    """Make a function the stage ``toy``, as if it were the module ``hummingbird.stages.toy``."""

    def install(run: Stage) -> None:
        module = ModuleType("hummingbird.stages.toy")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(runner, "stage_names", lambda: ["toy"])

    return install


SERVER = """
import sys, threading
from mlflow.server import app
from werkzeug.serving import make_server
for command in sys.stdin:
    if command == "start\\n":
        server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    else:
        server.shutdown()
        server.server_close()
    print("done", flush=True)
"""


class Server:
    """MLflow's own server on loopback. It can stop listening and begin again; what it has stays."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.uri = f"http://127.0.0.1:{port}"
        self.up = False

    def start(self) -> None:
        self._order("start")
        self.up = True

    def stop(self) -> None:
        self._order("stop")
        self.up = False

    def _order(self, command: str) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(command, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'mlflow.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (folder / "artifacts").as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | settings,
    )
    yield Server(process, port)
    process.kill()
    process.communicate()


@pytest.fixture
def served(root: Path, mlflow_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, running, which the project ``root`` records to and has heard of."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if not mlflow_server.up:
        mlflow_server.start()
    server.connect(root)
    return mlflow_server
