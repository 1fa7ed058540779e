"""A project with one toy stage in a temporary folder: what the runner and the tracking are tested on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from hummingbird.layout import Layout
from hummingbird.ops import runner, tracking
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
