"""A small DVC project of toy stages: a -> b -> d and a -> c -> d."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hummingbird.params import Params, dump_params

STAGE = """
import json, os, pathlib, sys, time
name, *needs = sys.argv[1:]
nap = pathlib.Path("sleep")
pathlib.Path("began_" + name).write_text(str(os.getpid()))
time.sleep(float(nap.read_text()) if nap.exists() else 0)
if pathlib.Path("break_" + name).exists():
    sys.exit(f"{name} is broken")
text = name + "".join(pathlib.Path(need).read_text() for need in needs)
pathlib.Path(name).write_text(text)
pathlib.Path("reports/runs").mkdir(parents=True, exist_ok=True)
record = {"run_id": "run-of-" + name, "finished_at": time.time()}
pathlib.Path(f"reports/runs/{name}.json").write_text(json.dumps(record))
with open("log", "a") as log:
    log.write(name)
"""
NEEDS = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tracking URI of one MLflow file for all tests of flows: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[str]:
    """Address of a Prefect server of our own with an empty database, shared by the tests of a file."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield str(PREFECT_API_URL.value())


@pytest.fixture
def toys(tmp_path: Path, runs: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the project, made the current one; each stage appends its name to ``log`` when it runs."""
    for name in ("MLFLOW_RUN_ID", "HUMMINGBIRD_PARENT_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", runs)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    stages = {
        name: {
            "cmd": f"{sys.executable} stage.py {' '.join([name, *needs])}",
            "deps": ["stage.py", *needs],
            "outs": [name, f"reports/runs/{name}.json"],
        }
        for name, needs in NEEDS.items()
    }
    stages["d"]["params"] = ["seed"]
    (folder / "stage.py").write_text(STAGE)
    (folder / "params.yaml").write_text(dump_params(Params(seed=1)))
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True, env=os.environ)
    return folder


@pytest.fixture
def toys_in_git(toys: Path) -> Path:
    """The same project in a git repository, committed."""
    ignored = ["/.work/", "/log", "/began_*", "/sleep", "/break_*", "__pycache__/"]
    (toys / ".gitignore").write_text("\n".join([*ignored, *(f"/{name}" for name in NEEDS), "/reports/runs/"]) + "\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        who = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
        subprocess.run(["git", *who, *command], check=True, cwd=toys)
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.no_scm", "--unset"], check=True, cwd=toys)
    return toys
