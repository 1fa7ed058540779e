"""Work for the engines' tests, importable by name from any process: one file a task, whole or not at all."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from hummingbird.errors import UserError
from hummingbird.files import replacing

Task = tuple[str, int]  # folder, number


def write_shard(task: Task) -> tuple[int, str, str]:
    """Number, hash and the cluster's node; a file that is there is not made again."""
    folder, number = task
    path = Path(folder) / f"{number:05d}.txt"
    if not path.is_file():
        time.sleep(0.25)
        with replacing(path) as part:
            part.write_text(str(number) * 1000)
    return number, hashlib.sha256(path.read_bytes()).hexdigest(), _node()


def _node() -> str:
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray and ray.is_initialized() else ""


def heavy(task: int) -> bytes:
    return bytes([task % 256]) * 2**23


def refuse(task: Task) -> None:
    raise UserError(f"cannot do {task[1]}", "do another")
