"""Work for the engines' tests, importable by name from any process: one file a task, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from hummingbird.errors import UserError
from hummingbird.files import replacing

Task = tuple[str, int]  # folder, number


def write_shard(task: Task) -> tuple[int, str, int]:
    """Number, hash and process; a file that is there is not made again."""
    folder, number = task
    path = Path(folder) / f"{number:05d}.txt"
    if not path.is_file():
        time.sleep(0.25)
        with replacing(path) as part:
            part.write_text(str(number) * 1000)
    return number, hashlib.sha256(path.read_bytes()).hexdigest(), os.getpid()


def refuse(task: Task) -> None:
    raise UserError(f"cannot do {task[1]}", "do another")
