"""Training state on disk: complete, atomic, and refused when it belongs to another configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hummingbird.errors import UserError
from hummingbird.files import replacing


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
    state = {"step": checkpoint.step, "state": checkpoint.state, "history": checkpoint.history}
    with replacing(path) as part, part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


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
