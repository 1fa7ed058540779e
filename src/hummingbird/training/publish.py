"""From a finished training to a stage's outputs: whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from hummingbird.errors import UserError
from hummingbird.models.checkpoints import sha256


@contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """A folder to fill; it replaces ``target`` in one move when the block ends without an error.

    Raises:
        UserError: the folder cannot be written.
    """
    staging = target.with_name(f".{target.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        shutil.rmtree(target, ignore_errors=True)
        os.replace(staging, target)
    except OSError as error:
        raise UserError(
            f"could not write {target}: {error.strerror or error}",
            "free some disk space or mend the permissions and run again; training resumes from its checkpoint",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_curve(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Write a training series as CSV, one row a step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pl.DataFrame(rows, infer_schema_length=None).write_csv(partial)
    partial.replace(path)


def fingerprint(*paths: Path) -> list[str]:
    """sha256 of files, and of every file of folders: names the inputs a checkpoint belongs to."""
    files = [f for path in paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path]) if f.is_file()]
    return [sha256(file) for file in files]
