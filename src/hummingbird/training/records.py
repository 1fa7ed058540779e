"""What a stage records of a training: its series, and what its checkpoints belong to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from hummingbird.files import replacing
from hummingbird.models.checkpoints import sha256


def write_curve(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Write a training series as CSV, one row a step."""
    with replacing(path) as part:
        pl.DataFrame(rows, infer_schema_length=None).write_csv(part)


def final_means(rows: Sequence[Mapping[str, Any]], names: Sequence[str], steps: int) -> dict[str, float]:
    """``final_NAME``: means over the last ``steps`` rows of those of the figures ``names`` that there are."""
    tail = rows[-steps:]
    return {f"final_{name}": sum(float(row[name]) for row in tail) / len(tail) for name in names if name in tail[0]}


def fingerprint(*paths: Path) -> dict[str, str]:
    """sha256 of files, and of every file of folders, by name: the inputs that a checkpoint belongs to.

    Nothing in processes that only train along: the first one alone reads all latents and names the work folder.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        return {}
    files = [(p, f) for p in paths for f in (sorted(p.rglob("*")) if p.is_dir() else [p]) if f.is_file()]
    return {file.relative_to(path.parent).as_posix(): sha256(file) for path, file in files}
