"""Training state on disk: complete, atomic, and refused when it belongs to another configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hummingbird.errors import UserError


@dataclass
class Checkpoint:
    """Everything a run needs to go on as if it had never stopped.

    Randomness is not stored: every step seeds its generator from (seed, step), so the step alone restores it.
    """

    step: int
    state: dict[str, Any]
    history: list[dict[str, float]]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside the old checkpoint, flush to disk, then replace it: a kill at any moment leaves a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save({"step": checkpoint.step, "state": checkpoint.state, "history": checkpoint.history}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"could not write the checkpoint {path}: {error.strerror or error}",
            "free some disk space and run again; the previous checkpoint is intact and training resumes from it",
        ) from error


def load(path: Path) -> Checkpoint | None:
    """The checkpoint at ``path``, or None where there is none.

    Raises:
        UserError: the file cannot be read.
    """
    if not path.is_file():
        return None
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"the checkpoint {path} cannot be read: {error}", f"delete it to start over: rm {path}"
        ) from error
    return Checkpoint(step=data["step"], state=data["state"], history=data["history"])
