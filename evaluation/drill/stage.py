"""The stages of the drill's project, under the pipeline's own runner. The project has a copy of this file.

    python stage.py prepare|train|watch|publish

Each call of the log is written down twice, before and after it, in a file of the run's own outside the project's disk:
so it is known what MLflow must have, whatever happens to the process.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from hummingbird import storage
from hummingbird.cli import app
from hummingbird.errors import UserError
from hummingbird.files import read_json, replacing
from hummingbird.layout import Layout
from hummingbird.ops import runner
from hummingbird.ops.stagelog import StageLog
from hummingbird.params import Params

CHECKPOINT_EVERY = 10  # steps
CHECKPOINT = 256 << 10  # bytes; more than what a full disk still has room for
MODEL = 1 << 20  # bytes


class Witness:
    """Keeps what the run of a stage tells its log."""

    def __init__(self, folder: Path, stage: str, log: StageLog) -> None:
        self.log = log
        self._file = folder / f"{log.run.key}.jsonl"
        self._write({"stage": stage, "run": log.run.key, "pid": os.getpid()})

    def metrics(self, values: dict[str, float], step: int) -> None:
        self._write({"saying": values, "step": step})
        self.log.metrics(values, step)
        self._write({"said": step})

    def artifact(self, path: Path) -> None:
        self.log.artifact(path)
        self._write({"kept": path.name})

    def _write(self, line: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")


def steps(witness: Witness, settings: dict[str, Any], first: int = 0) -> Any:
    """Take the steps after ``first``, each with metrics; yields its number afterwards."""
    for step in range(first + 1, settings["steps"] + 1):
        time.sleep(settings["pause_s"])
        witness.metrics({"loss": 1.0 / step, "norm": random.random(), "rate": random.gauss(0.0, 1e-3)}, step)
        yield step


def prepare(params: Params, layout: Layout, witness: Witness, settings: dict[str, Any]) -> dict[str, float]:
    """Make the data."""
    made("prepare").write_bytes(random.Random(params.seed).randbytes(1000))
    return {"bytes": 1000.0}


def train(params: Params, layout: Layout, witness: Witness, settings: dict[str, Any]) -> dict[str, float]:
    """Take steps, with checkpoints to go on from, and make a model that depends on the seed only."""
    work = layout.work("train", str(params.seed))
    checkpoint = work / "checkpoint.bin"
    first = int.from_bytes(checkpoint.read_bytes()[:8], "big") if checkpoint.is_file() else 0
    for step in steps(witness, settings, first):
        if step % CHECKPOINT_EVERY == 0:
            with replacing(checkpoint) as part:
                part.write_bytes(step.to_bytes(8, "big") + random.randbytes(CHECKPOINT))
            (work / "notes.txt").write_text(f"as of step {step}\n")
            witness.artifact(work / "notes.txt")
    with replacing(made("train")) as part:
        part.write_bytes(random.Random(params.seed).randbytes(MODEL))
    return {"steps": float(settings["steps"]), "went_on_from": float(first)}


def watch(params: Params, layout: Layout, witness: Witness, settings: dict[str, Any]) -> dict[str, float]:
    """Take steps beside the training."""
    count = sum(1 for _ in steps(witness, settings))
    with replacing(made("watch")) as part:
        part.write_text(f"{count} steps with seed {params.seed}\n")
    return {"steps": float(count)}


def publish(params: Params, layout: Layout, witness: Witness, settings: dict[str, Any]) -> dict[str, float]:
    """Put the model into the S3 store, and see that it arrived."""
    uri = f"{settings['bucket']}/drill/{params.seed}.bin"
    digest = storage.upload(made("train"), uri)
    back = layout.work("publish", "back") / "model.bin"
    if storage.download(uri, back) != digest:
        raise UserError(f"{uri} is not what was uploaded", "look at the store")
    made("publish").write_text(digest)
    return {"bytes": float(back.stat().st_size)}


def made(stage: str) -> Path:
    """The output of a stage."""
    path = Path("made") / stage
    path.parent.mkdir(exist_ok=True)
    return path


STAGES = {stage.__name__: stage for stage in (prepare, train, watch, publish)}


def main() -> None:
    """Run one stage as ``hummingbird stage NAME`` does."""
    name = sys.argv[1]
    settings = read_json(Path("drill.json"))

    def run(params: Params, layout: Layout, log: StageLog) -> dict[str, float]:
        return STAGES[name](params, layout, Witness(Path(settings["record"]), name, log), settings)

    module = ModuleType(f"hummingbird.stages.{name}")
    module.run = run  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    runner.stage_names = lambda: list(STAGES)
    app(["stage", name])


if __name__ == "__main__":
    main()
