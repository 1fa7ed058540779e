"""Files and folders that are either whole or not there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hummingbird.errors import UserError

_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` while ``path`` is written into a :class:`UserError` with the cause and the next step."""
    try:
        yield
    except OSError as error:
        full = error.errno in _OUT_OF_SPACE
        step = "free some disk space and run again" if full else f"make {path.parent} writable and run again"
        raise UserError(f"cannot write {path}: {error.strerror or error}", step) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes the place of ``path`` when the block ends without an error.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a folder: yields an empty one beside it. An older ``folder`` is removed at the end.

    Raises:
        UserError: the parent folder cannot be written to, or the disk is full.
    """
    part = folder.with_name(f".{folder.name}.part")
    with explain_disk_errors(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a finished file a second name, or copy it where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write ``values`` so that no reader ever sees half of them.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    with replacing(path) as part:
        part.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an absent file reads as an empty one."""
    if not path.is_file():
        return {}
    values: dict[str, Any] = json.loads(path.read_text())
    return values
