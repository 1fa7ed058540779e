"""Small files that are either whole or not there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hummingbird.errors import UserError


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write ``values`` beside ``path`` and move the file into place, so that no reader ever sees half of it.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")
        os.replace(part, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        step = "free some disk space and run again" if full else f"make {path.parent} writable and run again"
        raise UserError(f"cannot write {path}: {error.strerror}", step) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an absent file reads as an empty one."""
    if not path.is_file():
        return {}
    values: dict[str, Any] = json.loads(path.read_text())
    return values
