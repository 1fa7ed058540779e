"""The drill in its short form, on real processes: DVC, MLflow's server, stages under the pipeline's runner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hummingbird.files import read_json


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in for a full disk is Linux's prlimit")
def test_each_fault_ends_with_the_pipeline_complete_and_nothing_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evaluation.drill", "--short", "--out", str(tmp_path / "drill.json")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {fault["fault"]: fault for fault in read_json(tmp_path / "drill.json")["faults"]}
    assert found.keys() == {"stage", "mlflow", "disk"}
    assert [fault["first"] for fault in found.values()] == ["failed", "completed", "failed"]
    for fault in found.values():
        counts = fault["counts"]
        assert counts["points"] >= 3 * 60 and counts["recorded"] >= counts["points"]
        assert (counts["lost"], counts["doubled"], counts["doubled_runs"], fault["locks"]) == (0, 0, 0, [])
