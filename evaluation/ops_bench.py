"""What the flow costs over plain `dvc repro`, and how fast both find that there is nothing to do.

    python -m evaluation.ops_bench --out evaluation/results/ops_bench.json [--project DIR] [--targets STAGE ...]

Without ``--project``: on a made graph of stages that only sleep, where every second above the longest path is overhead.
With it: on a clone of that project, from nothing (an empty DVC cache), by `dvc repro` and then by the flow in a second
clone. Each no-op is run ``--repeats`` times; the times are wall times of whole processes, the start of the interpreter
and of Prefect's temporary server included. Runs nothing else meanwhile, and says how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

STAGE = """
import json, pathlib, sys, time
name, seconds, *needs = sys.argv[1:]
time.sleep(float(seconds))
pathlib.Path(name).write_text(name)
pathlib.Path("reports/runs").mkdir(parents=True, exist_ok=True)
pathlib.Path(f"reports/runs/{name}.json").write_text(json.dumps({"run_id": None, "finished_at": time.time()}))
"""
DVC = [sys.executable, "-m", "dvc", "repro", "-q"]
FLOW = [sys.executable, "-m", "hummingbird", "flow", "run"]
TARGETS: dict[str, float] = {"overhead": 0.05, "noop_dvc_s": 5.0, "noop_flow_s": 15.0}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, help="clone this one; none: a made graph")
    parser.add_argument("--targets", nargs="*", default=[], help="stages of the project; none: all")
    parser.add_argument("--seconds", type=float, default=20.0, help="that each stage of the made graph sleeps")
    parser.add_argument("--repeats", type=int, default=3, help="of each no-op")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments.project, arguments.targets, arguments.seconds, arguments.repeats)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(folder: Path, project: Path | None, targets: list[str], seconds: float, repeats: int) -> dict[str, Any]:
    """Time both ways, in two equal projects below ``folder``."""
    found: dict[str, Any] = {"project": str(project or "made graph"), "targets": targets, "cpus": os.cpu_count()}
    for name, command in (("dvc", DVC), ("flow", FLOW)):
        where = folder / name
        if project is None:
            make_graph(where, seconds)
        else:
            subprocess.run(["git", "clone", "-q", str(project), str(where)], check=True)
        found[f"load_before_{name}"] = os.getloadavg()[0]
        found[f"{name}_s"] = timed([*command, *targets], where)
        nothing = [timed([*command, *targets], where) for _ in range(repeats)]
        found[f"noop_{name}_s"] = statistics.median(nothing)
        found[f"noop_{name}_all_s"] = nothing
        if project is not None:
            shutil.rmtree(where)
    found["overhead"] = found["flow_s"] / found["dvc_s"] - 1
    return found | {"met": {name: found[name] <= bound for name, bound in TARGETS.items()}}


def make_graph(folder: Path, seconds: float) -> None:
    """A project of a chain of three stages, so that nothing is gained by running side by side."""
    folder.mkdir()
    needs: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["b"]}
    stages = {
        name: {
            "cmd": " ".join([sys.executable, "stage.py", name, str(seconds), *before]),
            "deps": ["stage.py", *before],
            "outs": [name, f"reports/runs/{name}.json"],
        }
        for name, before in needs.items()
    }
    (folder / "stage.py").write_text(STAGE)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True, cwd=folder)


def timed(command: list[str], folder: Path) -> float:
    """Wall seconds of a command in ``folder``, with tracking and Prefect's database in it.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    own = {"MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "HUMMINGBIRD_PARENT_RUN_ID"}
    env = {name: value for name, value in os.environ.items() if name not in own}
    env |= {"PREFECT_HOME": str(folder / ".work/prefect"), "DVC_SITE_CACHE_DIR": str(folder / ".work/site")}
    start = time.monotonic()
    subprocess.run(command, check=True, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
