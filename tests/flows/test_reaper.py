from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Running

from flows import reaper


class Server:
    """The part of Prefect's client that the reaper uses."""

    def __init__(self, **states: Any) -> None:
        self.states = states

    def read_flow_run(self, name: str) -> Any:
        if name not in self.states:
            raise ObjectNotFound(http_exc=LookupError(name))
        return SimpleNamespace(id=name, name=name, state=self.states[name])

    def set_flow_run_state(self, name: str, state: Any, force: bool) -> None:
        self.states[name] = state


def left_by_a_dead_process(root: Path, name: str) -> Path:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    path = root / reaper.FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": platform.node(), "pid": int(dead.stdout), "started": time.time()}))
    return path


def reap(root: Path, server: Server) -> list[str]:
    return reaper.reap(root, server)  # type: ignore[arg-type]


def test_runs_of_dead_processes_crash_and_living_ones_go_on(tmp_path: Path) -> None:
    server = Server(dead=Running(), done=Completed(), mine=Running())
    for name in ("dead", "done", "of-another-server"):
        left_by_a_dead_process(tmp_path, name)
    with reaper.alive(tmp_path, "mine"):
        assert reap(tmp_path, server) == ["dead"]
        assert [path.stem for path in (tmp_path / reaper.FOLDER).iterdir()] == ["mine"]
    assert server.states["dead"].is_crashed()
    assert server.states["done"].is_completed() and server.states["mine"].is_running()


def test_a_number_that_another_process_has_now_is_no_sign_of_life(tmp_path: Path) -> None:
    path = left_by_a_dead_process(tmp_path, "dead")
    me = psutil.Process()
    path.write_text(json.dumps({"host": platform.node(), "pid": me.pid, "started": me.create_time() - 100}))
    assert reap(tmp_path, Server(dead=Running())) == ["dead"]


def test_half_a_file_is_no_sign_of_life(tmp_path: Path) -> None:
    left_by_a_dead_process(tmp_path, "dead").write_text('{"host"')
    assert reap(tmp_path, Server(dead=Running())) == ["dead"]


def test_on_another_machine_only_silence_tells(tmp_path: Path) -> None:
    path = left_by_a_dead_process(tmp_path, str(uuid4()))
    server = Server(**{path.stem: Running()})
    path.write_text(json.dumps({"host": "another", "pid": 1, "started": 0}))
    assert reap(tmp_path, server) == []
    old = time.time() - reaper.OLD - 1
    os.utime(path, (old, old))
    assert reap(tmp_path, server) == [path.stem]
