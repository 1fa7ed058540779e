"""Everything the report reads, as far as it is there: a stage that has not run leaves a gap, not an error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.errors import UserError
from hummingbird.layout import Layout

STAGES = (
    "foundation",
    "download",
    "measure",
    "vqa_filter",
    "motion_filter",
    "recaption",
    "encode",
    "decoder",
    "stage1",
    "stage2",
    "reneg",
    "vbench",
    "latency",
)
TABLES = ("download", "vqa_filter", "motion_filter", "recaption")
CURVES = ("decoder", "stage1", "stage2", "reneg")


@dataclass(frozen=True)
class Inputs:
    """What was measured. An absent file is ``None``, or an absent key.

    ``vbench`` and ``latency`` are the summaries of these stages, ``scores`` VBench's results by model, ``stages`` the
    metrics of every stage that ran, ``tables`` the clip tables by stage, ``truth`` what was done to each clip (without
    rows where the clips are real ones) and ``curves`` the training series.
    """

    vbench: dict[str, Any] | None
    scores: dict[str, dict[str, Any]]
    latency: dict[str, Any] | None
    stages: dict[str, dict[str, float]]
    tables: dict[str, pl.DataFrame]
    truth: pl.DataFrame | None
    curves: dict[str, pl.DataFrame]

    @property
    def has_truth(self) -> bool:
        return self.truth is not None and not self.truth.is_empty()


def read_inputs(layout: Layout) -> Inputs:
    """Read what is there.

    Raises:
        UserError: a file is there but cannot be read.
    """
    vbench = _json(layout.vbench / "summary.json")
    models = [*vbench["vbench"]] if vbench else []
    return Inputs(
        vbench=vbench,
        scores=_present({name: _json(layout.vbench / f"{name}.json") for name in models}),
        latency=_json(layout.latency / "summary.json"),
        stages=_present({name: _json(layout.metrics(name)) for name in STAGES}),
        tables=_present({name: _table(layout.clip_table(name)) for name in TABLES}),
        truth=_table(layout.truth),
        curves=_present({name: _table(layout.curve(name)) for name in CURVES}),
    )


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return values


def _table(path: Path) -> pl.DataFrame | None:
    if not path.is_file():
        return None
    try:
        return pl.read_csv(path, infer_schema_length=None) if path.suffix == ".csv" else pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read: {error}", "delete it and run again: dvc repro")
