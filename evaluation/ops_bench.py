"""What the flow costs over plain `dvc repro`, and how fast both find that there is nothing to do.

    python -m evaluation.ops_bench [made_graph|short_chain|default_chain]

``made_graph``: a chain of stages that only sleep, where every second above their sum is overhead. The others: a clone
of this project from nothing (an empty DVC cache), by `dvc repro` and then by the flow in a second clone;
``short_chain`` with the parameters of :mod:`evaluation.short`. Each no-op is run ``--repeats`` times. The times are
wall times of whole processes, the start of the interpreter and of Prefect's temporary server included (there is none if
``PREFECT_API_URL`` is set). Runs nothing else meanwhile, and says how busy the machine was. A result takes the place of
the one of its name in ``--out``.
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

from evaluation.short import SHORT
from hummingbird.files import read_json, write_json
from hummingbird.params import dump_params, load_params, with_overrides

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
GRAPHS = ("made_graph", "short_chain", "default_chain")
TARGETS: dict[str, float] = {"overhead": 0.05, "noop_dvc_s": 5.0, "noop_flow_s": 15.0}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "graph", choices=("made_graph", "short_chain", "default_chain"), nargs="?", default="made_graph"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="that each stage of the made graph sleeps")
    parser.add_argument("--repeats", type=int, default=3, help="of each no-op")
    parser.add_argument("--out", type=Path, default=Path("evaluation/results/ops_bench.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments.graph, arguments.seconds, arguments.repeats)
    write_json(arguments.out, {**read_json(arguments.out), arguments.graph: result})
    print(json.dumps(result, indent=2))


def measure(folder: Path, graph: str, seconds: float, repeats: int) -> dict[str, Any]:
    """Time both ways, in two equal projects below ``folder``."""
    server = "one that runs" if os.environ.get("PREFECT_API_URL") else "temporary"
    found: dict[str, Any] = {"cpus": os.cpu_count(), "prefect_server": server}
    for name, command in (("dvc", DVC), ("flow", FLOW)):
        where = folder / name
        if graph == "made_graph":
            make_graph(where, seconds)
        else:
            clone(where, SHORT if graph == "short_chain" else {})
        found[f"load_before_{name}"] = os.getloadavg()[0]
        found[f"{name}_s"] = timed(command, where)
        nothing = [timed(command, where) for _ in range(repeats)]
        found[f"noop_{name}_s"] = statistics.median(nothing)
        found[f"noop_{name}_all_s"] = nothing
        shutil.rmtree(where)  # a default run takes gigabytes
    found["overhead"] = found["flow_s"] / found["dvc_s"] - 1
    return found | {"met": {name: found[name] <= bound for name, bound in TARGETS.items()}}


def clone(folder: Path, overrides: dict[str, Any]) -> None:
    """This project as committed, with other parameters, committed too."""
    subprocess.run(["git", "clone", "-q", str(Path.cwd()), str(folder)], check=True)
    params = folder / "params.yaml"
    params.write_text(dump_params(with_overrides(load_params(params), overrides)))
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-am", "Parameters"], check=True, cwd=folder)


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
