"""What a stage records of a training: its series, and what its checkpoints belong to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from hummingbird.files import replacing
from hummingbird.models.checkpoints import sha256


def write_curve(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Write a training series as CSV, one row a step."""
    with replacing(path) as part:
        pl.DataFrame(rows, infer_schema_length=None).write_csv(part)


def fingerprint(*paths: Path) -> list[str]:
    """sha256 of files, and of every file of folders: names the inputs a checkpoint belongs to.

    Nothing in processes that only train along: the first one alone reads all latents and names the work folder.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        return []
    files = [f for path in paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path]) if f.is_file()]
    return [sha256(file) for file in files]
