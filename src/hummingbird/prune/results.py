"""The figures of a study of blocks: as JSON, as CSV and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.files import replacing, write_json


@dataclass(frozen=True)
class Row:
    """What a change of the teacher costs.

    Args:
        name: the block left out, or a plan and how it was applied.
        kept: whether the plan keeps the block; none = not a block but a plan.
        loss: mean squared error.
        relative: the same divided by the variance of the teacher's guided prediction; 1 = no better than a constant.
        relative_error: its standard error over samples.
        parameters, flops: of the blocks left out; operations of one forward pass of one video.
    """

    name: str
    kept: bool | None
    loss: float
    relative: float
    relative_error: float
    parameters: int
    flops: int

    @property
    def per_million(self) -> float:
        """Relative loss per million parameters."""
        return self.relative / self.parameters * 1e6 if self.parameters else 0.0


def write_results(out: Path, header: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write ``importance.json`` and ``importance.csv``, each whole or not at all.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    records = [asdict(row) | {"relative_per_million_parameters": row.per_million} for row in rows]
    write_json(out / "importance.json", {**header, "rows": records})
    with replacing(out / "importance.csv") as part:
        pl.DataFrame(records, infer_schema_length=None).write_csv(part)


def format_rows(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [_line("left out", "plan", "relative loss", "parameters", "GFLOP", "loss per M")]
    for row in rows:
        verdict = {True: "kept", False: "dropped", None: ""}[row.kept]
        loss = f"{row.relative:.3g} ± {row.relative_error:.2g}"
        lines.append(
            _line(row.name, verdict, loss, f"{row.parameters:,}", f"{row.flops / 1e9:,.3f}", f"{row.per_million:.3g}")
        )
    return "\n".join(lines)


def _line(name: str, verdict: str, loss: str, parameters: str, flops: str, rate: str) -> str:
    return f"{name:<26} {verdict:<8} {loss:>19} {parameters:>13} {flops:>10} {rate:>11}"
