"""What each stage costs before it does anything: seconds of processor time to import it, and the heavy libraries that
come along. A stage that needs no network must not wait for torch, nor any stage for an orchestrator.

    python -m evaluation.import_times --out evaluation/results/import_times.json

Each stage is imported in a process of its own, several times; the least counts, since another process's work can only
add to it. Exit code 1 if a stage imports a library that is beyond its budget.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from evaluation.latency.harness import processor_name
from hummingbird.files import write_json

HEAVY = ("torch", "diffusers", "transformers", "polars", "matplotlib", "cv2", "scipy", "ray", "boto3")
NEVER = ("mlflow", "prefect", "great_expectations")  # the runner's business; no stage knows them
NETWORKS = ("torch", "diffusers", "transformers")
#: Stages that look at tables, files and pictures only; `foundation` imports networks in the modes that need them.
WITHOUT_NETWORKS = ("foundation", "download", "vqa_filter", "motion_filter", "report")

_IMPORT = """
import importlib, json, sys, time
importlib.import_module("hummingbird.ops.runner")
began = time.process_time()
importlib.import_module("hummingbird.stages." + sys.argv[1])
spent = time.process_time() - began
print(json.dumps({"cpu_s": spent, "modules": [name for name in sys.argv[2:] if name in sys.modules]}))
"""


def beyond_budget(stage: str, modules: list[str]) -> list[str]:
    """The libraries among ``modules`` that ``stage`` must not import."""
    forbidden = NEVER + (NETWORKS if stage in WITHOUT_NETWORKS else ())
    return [name for name in modules if name in forbidden]


def import_stage(stage: str) -> dict[str, Any]:
    """Processor time in seconds to import a stage's module after the runner's, and which heavy libraries are loaded."""
    command = [sys.executable, "-c", _IMPORT, stage, *HEAVY, *NEVER]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("evaluation/results/import_times.json"))
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    names = sorted(path.stem for path in Path("src/hummingbird/stages").glob("[!_]*.py"))
    rows = {}
    for stage in names:
        found = min((import_stage(stage) for _ in range(arguments.repeat)), key=lambda row: float(row["cpu_s"]))
        rows[stage] = {"cpu_s": round(found["cpu_s"], 2), "modules": found["modules"]}
        print(f"{stage:14} {found['cpu_s']:6.2f} s  {' '.join(found['modules'])}", flush=True)
    about = {"processor": processor_name(), "python": sys.version.split()[0], "repeat": arguments.repeat}
    write_json(arguments.out, {**about, "stages": rows})
    excess = {stage: beyond for stage, row in rows.items() if (beyond := beyond_budget(stage, row["modules"]))}
    if excess:
        raise SystemExit(f"beyond their budget: {excess}")


if __name__ == "__main__":
    main()
