"""No stage waits for a library that it does not need."""

from __future__ import annotations

import subprocess
import sys

from evaluation.import_times import HEAVY, NETWORKS, NEVER, WITHOUT_NETWORKS, beyond_budget, import_stage

_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(sys.modules))
"""


def test_stages_without_networks_and_the_runner_import_none_nor_any_orchestrator() -> None:
    names = ["hummingbird.cli", "hummingbird.ops.runner", *(f"hummingbird.stages.{name}" for name in WITHOUT_NETWORKS)]
    done = subprocess.run([sys.executable, "-c", _ALL, *names], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "polars" in loaded
    assert not loaded.intersection(NETWORKS + NEVER)


def test_a_stage_is_imported_and_held_to_its_budget() -> None:
    found = import_stage("foundation")
    assert found["cpu_s"] >= 0
    assert set(found["modules"]) <= set(HEAVY)
    assert beyond_budget("report", ["torch", "polars", "mlflow"]) == ["torch", "mlflow"]
    assert beyond_budget("stage1", ["torch", "polars", "mlflow"]) == ["mlflow"]
