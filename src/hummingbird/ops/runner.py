"""Runs one stage. Everything that every stage needs is here and nowhere else: parameters, seeds, the tracked run, gates
on the tables it reads and writes, the check that nothing it depends on changed meanwhile, its metrics, and a last
word on how to go on when it fails."""

from __future__ import annotations

import importlib
import math
import os
import pkgutil
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import BaseModel

import hummingbird.stages
from hummingbird.errors import UserError, did_you_mean
from hummingbird.files import read_json, write_json
from hummingbird.layout import Layout
from hummingbird.ops import gates, launch, machine, snapshot, tracking
from hummingbird.ops.inputs import data_sets
from hummingbird.ops.inspector import Inspector
from hummingbird.ops.outputs import keep_outputs
from hummingbird.ops.recording import shortened, silence
from hummingbird.ops.stagelog import StageLog
from hummingbird.params import Params, load_params
from hummingbird.runlog import RunLog


def run_stage(name: str, root: Path = Path()) -> dict[str, float]:
    """Run stage ``name`` of the project in ``root`` and write ``reports/metrics/NAME.json``.

    Returns:
        What the stage measured, with ``wall_s`` (seconds) and ``peak_memory_bytes`` (largest resident set among this
        process and its children).

    Raises:
        UserError: a wrong name, parameter, input or output; whatever else the stage raises passes through.
    """
    start = time.monotonic()
    _check_name(name)
    with _how_to_resume(name):
        params = load_params(root / "params.yaml")
        layout = Layout(root)
        knobs = _knobs(params, name)
        before = snapshot.take(root, name, knobs)
        with (
            Inspector(layout) if name in (*gates.READS, *gates.WRITES) else nullcontext() as gate,
            tracking.stage_run(
                layout, name, knobs | _how_it_runs(params, name), snapshot.stage_hash(root, name, before)
            ) as log,
        ):
            log.run.say({"inputs": data_sets(root, name, before)})
            stage = importlib.import_module(f"hummingbird.stages.{name}")
            if gate and name in gates.READS:
                _check_table(gate, gates.READS[name], layout, log)
            _tell_of_other_code(name, layout, before, log)
            _seed(params.seed, needs_torch=_reads_models(before))
            alone = _measures_time(root, name)
            with machine.watched(log.metrics, None if alone else machine.EVERY), silence() if alone else nullcontext():
                measured: dict[str, float] = stage.run(params, layout, log)
            _make_folder_of_sheets(root, name, layout)
            if gate and name in gates.WRITES:
                _check_table(gate, name, layout, log)
            _check_unchanged(root, name, before)
            measured = _numbers(name, measured) | {"wall_s": time.monotonic() - start, **_peak_memory()}
            log.metrics(measured)
            write_json(layout.metrics(name), measured)
            keep_outputs(log.run, layout, name)
    _forget_training(name, layout)
    return measured


def stage_names() -> list[str]:
    """Names of the modules under ``hummingbird.stages``."""
    return sorted(module.name for module in pkgutil.iter_modules(hummingbird.stages.__path__))


def _check_name(name: str) -> None:
    if name not in stage_names():
        raise UserError(f"no stage {name!r}; {did_you_mean(name, stage_names())}", "dvc dag shows all stages")


def _knobs(params: Params, name: str) -> dict[str, Any]:
    """The parameters a stage depends on: its own section and the seed."""
    section = getattr(params, name, None)
    values = {name: section.model_dump(mode="json")} if isinstance(section, BaseModel) else {}
    return {"seed": params.seed, **values}


def _how_it_runs(params: Params, name: str) -> dict[str, Any]:
    """What shapes no result, and is worth a record all the same: how a training ran on the machine."""
    return {"training": params.training.model_dump(mode="json")} if name in launch.TRAINING else {}


def _reads_models(before: Mapping[str, str]) -> bool:
    """Whether a stage will use torch, even if it imports it late: it does if it reads a model."""
    return any(path.startswith("artifacts/") for path in before)


def _seed(seed: int, needs_torch: bool) -> None:
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)  # libraries draw from the global generator
    if needs_torch or "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)


def _make_folder_of_sheets(root: Path, name: str, layout: Layout) -> None:
    """A stage may have had nothing to show; DVC still wants every output it was told of."""
    if layout.sheets(name).relative_to(root).as_posix() in snapshot.paths(
        snapshot.declared(root, name).get("outs", [])
    ):
        layout.sheets(name).mkdir(parents=True, exist_ok=True)


def _measures_time(root: Path, name: str) -> bool:
    """Whether nothing else may run beside a stage, not even for an instant."""
    return bool(snapshot.declared(root, name).get("meta", {}).get("alone"))


def _check_table(gate: Inspector, table_of: str, layout: Layout, log: StageLog) -> None:
    """The gate of a table. If it fails, its page goes to the run: the next run writes over the one on the disk."""
    try:
        gate.check(table_of)
    except UserError:
        page = layout.reports / gates.SITE / f"{table_of}.html"
        if page.is_file():
            log.artifact(page)
        raise


def _check_unchanged(root: Path, name: str, before: snapshot.Snapshot) -> None:
    after = snapshot.take(root, name, _knobs(load_params(root / "params.yaml"), name))
    if names := snapshot.changed(before, after):
        raise UserError(
            f"{shortened(names)} changed while stage {name} ran, so nobody could say what made its output",
            f"leave these files alone and run again: dvc repro {name}",
        )


def _forget_training(name: str, layout: Layout) -> None:
    """Delete the checkpoints of a training whose outputs have passed every check, and no sooner."""
    if name in (*launch.TRAINING, "foundation"):
        shutil.rmtree(layout.work(name, ""), ignore_errors=True)


def _tell_of_other_code(name: str, layout: Layout, before: snapshot.Snapshot, log: RunLog) -> None:
    """Say so where a training goes on with other code than it began with: its weights are of both."""
    if name not in launch.TRAINING:
        return
    code = {path: digest for path, digest in before.items() if path.endswith(".py")}
    noted = layout.work(name, "code.json")
    goes_on = any(noted.parent.rglob("step_*.pt")) and os.environ.get("HUMMINGBIRD_OTHER_SETTINGS") != "restart"
    then = read_json(noted) if goes_on else {}
    if then and (changed := snapshot.changed(then, code)):
        shown = f"{', '.join(changed[:3])}{' and more' * (len(changed) > 3)}"
        print(
            f"warning: the unfinished training of {name} began with other code ({shown}). It goes on; to start over: "
            f"HUMMINGBIRD_OTHER_SETTINGS=restart dvc repro {name}",
            file=sys.stderr,
        )
        log.metrics({"code_files_changed_since_the_start": len(changed)})
    else:
        write_json(noted, code)


def _numbers(name: str, measured: Mapping[str, float]) -> dict[str, float]:
    bad = [key for key, value in measured.items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"stage {name} measured no finite number for {', '.join(bad)}",
            f"look at its curves in MLflow, mend the cause, then: dvc repro {name}",
        )
    return {key: float(value) for key, value in measured.items()}


def _peak_memory() -> dict[str, float]:
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, KiB elsewhere
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return {"peak_memory_bytes": float(unit * max(resource.getrusage(it).ru_maxrss for it in who))}


@contextmanager
def _how_to_resume(name: str) -> Iterator[None]:
    """Turn SIGTERM into a clean stop, and print the command that goes on if the block fails."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except BaseException as error:
        verb = "was stopped" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
        print(f"stage {name} {verb}. To go on from where it was: dvc repro {name}", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
