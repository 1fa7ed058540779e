"""The loss series of the training stages, on tiny random networks: what a change of the code must not change.

    python -m evaluation.golden_losses check                  # this code against the committed series
    python -m evaluation.golden_losses write                  # after a change that is meant to change them
    python -m evaluation.golden_losses compare main HEAD      # two commits, each run in a worktree of its own

Runs the stages themselves, on one thread, in a project made on the spot: no data, checkpoint or network is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import torch
import typer

from evaluation.latency.harness import processor_name
from evaluation.untrained import save_project, save_student, short_params
from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.layout import Layout
from hummingbird.params import Params, with_overrides
from hummingbird.runlog import RunLog, SilentLog
from hummingbird.stages import decoder, reneg, stage1, stage2

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/training/golden/losses.json"
STEPS = 50
#: Relative. Another processor rounds sums otherwise, by 1e-7, and AdamW, which looks at little but the gradients' signs
#: at first, makes more of that step by step. Between torch's code paths for AVX2 and AVX-512, 50 steps were
#: 2e-5 apart (ReNeg), or less (the rest, 3e-6). Rewards of flat pictures, which untrained networks draw, magnify
#: roundings: 7e-4. These are ten times as much and more; another loss, draw or order of draws is far beyond.
TOLERANCE = 2e-4
TOLERANCES = {"stage2": 1e-2}

Series = Mapping[str, Sequence[float]]
Stage = Callable[[Params, Layout, RunLog], Any]

#: Method -> (its stage, the stage's name, what is changed to have this method alone).
METHODS: dict[str, tuple[Stage, str, dict[str, Any]]] = {
    "stage1/distillation": (stage1.run, "stage1", {"stage1.consistency": None}),
    "stage1/consistency": (stage1.run, "stage1", {"stage1.distillation": None}),
    "stage2": (stage2.run, "stage2", {}),
    "reneg": (reneg.run, "reneg", {}),
    "decoder": (decoder.run, "decoder", {}),
}


@dataclass(frozen=True)
class Deviation:
    """How far one series is from another: ``first`` is the first step out of tolerance, if any."""

    method: str
    steps: int
    tolerance: float
    largest: float
    first: int | None


def run_methods(steps: int = STEPS) -> dict[str, list[float]]:
    """The losses of all methods, ``steps`` of each. No series depends on its length, or on what another one made: a
    rounding of one would grow in the next."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            layout, params = save_project(Path(name)), short_params(steps)
            found: dict[str, list[float]] = {}
            for method, (run, stage, changes) in METHODS.items():
                if stage == "stage2":
                    save_student(layout)
                run(with_overrides(params, changes), layout, SilentLog())
                found[method] = pl.read_csv(layout.curve(stage))["loss"].to_list()
                shutil.rmtree(layout.work(stage, ""))  # the next method is no continuation of this one
            return found
    finally:
        torch.set_num_threads(threads)


def deviations(new: Series, old: Series, tolerance: float | None = None) -> list[Deviation]:
    """By method, the relative deviation of ``new`` from ``old`` over the steps that both have.

    Args:
        tolerance: of all methods; None = each method's own.

    Raises:
        UserError: they are not of the same methods.
    """
    if set(new) != set(old):
        raise UserError(
            f"the series are of different methods: {', '.join(sorted(set(new) ^ set(old)))} is only in one of them",
            "write them again: python -m evaluation.golden_losses write",
        )
    own = {method: TOLERANCES.get(method, TOLERANCE) if tolerance is None else tolerance for method in old}
    return [_deviation(method, new[method], old[method], own[method]) for method in old]


def _deviation(method: str, new: Sequence[float], old: Sequence[float], tolerance: float) -> Deviation:
    scale = sum(abs(loss) for loss in old) / len(old)  # a reward's loss may pass through zero
    apart = [abs(a - b) / max(abs(b), scale) for a, b in zip(new, old, strict=False)]
    out = [step for step, distance in enumerate(apart) if not distance <= tolerance]
    return Deviation(method, len(apart), tolerance, max(apart), out[0] if out else None)


def as_table(found: Sequence[Deviation]) -> str:
    """What a person reads."""
    lines = [f"{'method':24} {'steps':>5} {'largest':>10} {'tolerance':>10}  first step beyond"]
    lines += [
        f"{row.method:24} {row.steps:5d} {row.largest:10.2e} {row.tolerance:10.0e}  "
        f"{'none' if row.first is None else row.first}"
        for row in found
    ]
    return "\n".join(lines)


def read_golden(path: Path = GOLDEN) -> dict[str, Any]:
    """The committed series with what they were made on.

    Raises:
        UserError: there are none.
    """
    found = read_json(path)
    if not found:
        raise UserError(f"no golden losses in {path}", "write them: python -m evaluation.golden_losses write")
    return found


def run_commit(commit: str, steps: int) -> dict[str, list[float]]:
    """The losses of a commit, whose code runs in a worktree that is removed afterwards.

    Raises:
        UserError: there is no such commit, it has no golden losses, or its run fails.
    """
    with tempfile.TemporaryDirectory() as name:
        tree, out = Path(name) / "tree", Path(name) / "losses.json"
        _git("worktree", "add", "--detach", str(tree), commit)
        try:
            if not (tree / "evaluation/golden_losses.py").is_file():
                raise UserError(
                    f"{commit} has no golden losses", "compare commits that have evaluation/golden_losses.py"
                )
            command = [sys.executable, "-m", "evaluation.golden_losses", "write", "--out", str(out)]
            env = {**os.environ, "PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}"}
            done = subprocess.run(
                [*command, "--steps", str(steps)], cwd=tree, env=env, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise UserError(
                    f"the run of {commit} failed:\n{done.stderr[-2000:]}", "run it in a checkout of its own"
                )
            series: dict[str, list[float]] = read_json(out)["losses"]
            return series
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"git {' '.join(arguments)}: {done.stderr.strip()}", "name commits that git log shows")


app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def write(out: Path = GOLDEN, steps: int = STEPS) -> None:
    """Run all methods and keep their losses."""
    where = {"torch": torch.__version__, "processor": processor_name(), "threads": 1}
    write_json(out, {**where, "steps": steps, "losses": run_methods(steps)})
    typer.echo(f"written: {out}")


@app.command()
def check(steps: int = STEPS, tolerance: float | None = None) -> None:
    """Compare this code with the committed series; exit 1 where one of them deviates."""
    golden = read_golden()
    typer.echo(f"golden: torch {golden['torch']}, {golden['processor']}; here: torch {torch.__version__}")
    _report(deviations(run_methods(steps), golden["losses"], tolerance))


@app.command()
def compare(
    old: Annotated[str, typer.Argument(help="commit")],
    new: Annotated[str, typer.Argument(help="commit")],
    steps: int = STEPS,
    tolerance: float | None = None,
) -> None:
    """Compare two commits on this machine; exit 1 where a method deviates."""
    _report(deviations(run_commit(new, steps), run_commit(old, steps), tolerance))


def _report(found: Sequence[Deviation]) -> None:
    typer.echo(as_table(found))
    if any(row.first is not None for row in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        app(standalone_mode=True)
    except UserError as error:
        raise SystemExit(f"error: {error.problem}\nnext:  {error.next_step}") from None
