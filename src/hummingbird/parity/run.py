"""A folder of golden files through our classes: what differs, in a table, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch

from hummingbird.errors import UserError
from hummingbird.parity.backends import exact
from hummingbird.parity.golden import Case, Golden, Kind, Setup
from hummingbird.parity.kinds import NETWORKS, kind_of

#: Tolerances of networks are for float32; in half precision they are multiplied by this. Measured on random networks:
#: docs/paper-scale.md.
HALF_PRECISION = {torch.bfloat16: 5_000.0, torch.float16: 750.0}


@dataclass(frozen=True)
class Row:
    """One line of the table: a comparison, or why there was none.

    Args:
        problem: what went wrong in computing, or that the kind of file is unknown.
    """

    file: str
    kind: str = ""
    case: Case | None = None
    problem: str = ""

    @property
    def verdict(self) -> str:
        """``ok``, ``MISS``, ``ERROR`` or ``not run``."""
        if self.case is not None:
            return "ok" if self.case.passed else "MISS"
        return "ERROR" if self.kind else "not run"


def run_folder(folder: Path, setup: Setup) -> Iterator[Row]:
    """Run every golden file in ``folder`` (``*.json``, and tensors that have lost theirs), in the order of their names.

    Raises:
        UserError: no such folder, or no golden file in it.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}", "name the folder of golden files")
    alone = [path for path in folder.glob("*.safetensors") if not path.with_suffix(".json").is_file()]
    paths = sorted([*folder.glob("*.json"), *alone])
    if not paths:
        raise UserError(f"{folder} has no golden files (*.json)", "name the folder of golden files")
    return chain.from_iterable(_run_file(path, setup) for path in paths)


def _run_file(path: Path, setup: Setup) -> Iterator[Row]:
    if path.suffix != ".json":
        yield Row(path.name, "?", problem=f"{path.stem}.json, which says what it is, is missing")
        return
    try:
        golden = Golden.load(path)
        kind = kind_of(golden)
    except (UserError, AttributeError, TypeError) as error:  # the latter two where JSON has another form than expected
        yield Row(path.name, "?", problem=str(error).splitlines()[0])
        return
    if kind is None:
        yield Row(path.name, problem="its kind is unknown here")
        return
    if kind.has_tensors and not golden.tensors:
        yield Row(path.name, kind.name, problem=f"{path.stem}.safetensors, which holds its tensors, is missing")
        return
    rows = 0
    for row in _run_kind(path.name, kind, golden, setup):
        rows += 1
        yield row
    if not rows:
        yield Row(path.name, kind.name, problem="it has nothing to compare")


def _run_kind(name: str, kind: Kind, golden: Golden, setup: Setup) -> Iterator[Row]:
    """Its cases. An error ends the file but not the run: the other files are still worth seeing."""
    factor = HALF_PRECISION.get(setup.dtype, 1.0) if kind in NETWORKS else 1.0
    try:
        with exact(setup):
            for case in kind.cases(golden, setup):
                yield Row(name, kind.name, replace(case, tolerance=case.tolerance * factor))
    except KeyError as error:
        yield Row(name, kind.name, problem=f"it lacks {error.args[0]}")
    except (UserError, RuntimeError, ValueError, LookupError, TypeError) as error:
        text = error.problem if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        yield Row(name, kind.name, problem=text.splitlines()[0][:200])


def header() -> str:
    return _line("file", "case", "max diff", "tolerance", "verdict")


def line(row: Row) -> str:
    """One row as text."""
    if row.case is None:
        return _line(row.file, row.kind, "-", "-", f"{row.verdict}: {row.problem}")
    return _line(row.file, row.case.name, f"{row.case.difference:.2e}", f"{row.case.tolerance:.0e}", row.verdict)


def summary(rows: list[Row]) -> str:
    """How many comparisons passed, and how many files were not run."""
    compared = [row for row in rows if row.case is not None]
    passed = sum(row.verdict == "ok" for row in compared)
    broken = sum(row.verdict == "ERROR" for row in rows)
    unknown = sum(row.verdict == "not run" for row in rows)
    files = len({row.file for row in compared})
    parts = [f"{passed} of {len(compared)} comparisons in {files} files within tolerance"]
    if broken:
        parts.append(f"{broken} files broke off")
    if unknown:
        parts.append(f"{unknown} files not run")
    return "; ".join(parts)


def all_passed(rows: list[Row]) -> bool:
    """Whether there was something to compare and all of it was within tolerance."""
    run = [row for row in rows if row.verdict != "not run"]
    return bool(run) and all(row.verdict == "ok" for row in run)


def _line(file: str, case: str, difference: str, tolerance: str, verdict: str) -> str:
    return f"{file:<32} {case:<40} {difference:>9} {tolerance:>9}  {verdict}"
