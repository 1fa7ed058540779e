"""Training state on disk: complete, atomic, and the newest few of it kept."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hummingbird.errors import UserError
from hummingbird.files import replacing

_NAME = re.compile(r"step_(\d+)(-validated)?\.pt")


@dataclass
class Checkpoint:
    """Everything a run needs to go on as if it had never stopped.

    Randomness is not stored: every part of a step seeds its generators from (seed, step, part), so the step alone
    restores it, and the data's position with it.
    """

    step: int
    state: dict[str, Any]
    history: list[dict[str, float]]
    settings: str = ""  # names the configuration that it was made with
    foreign: int = 0  # steps of it that were made with another one


@dataclass(frozen=True, order=True)
class Found:
    """A checkpoint's file; ``validated``: the samples drawn at its step were good."""

    step: int
    path: Path
    validated: bool


def find(work: Path) -> list[Found]:
    """The checkpoints in ``work``, oldest first."""
    matches = [(_NAME.fullmatch(path.name), path) for path in work.glob("step_*.pt")]
    return sorted(Found(int(match[1]), path, match[2] is not None) for match, path in matches if match)


def save(work: Path, checkpoint: Checkpoint, *, validated: bool = False, keep: int = 1) -> None:
    """Write a checkpoint, flush it to disk, then remove older ones: a kill at any moment leaves a whole one.

    The newest ``keep`` stay, and the newest that was validated.

    Raises:
        UserError: the disk is full, or the folder cannot be written to. Older checkpoints stay as they are.
    """
    path = work / f"step_{checkpoint.step:08d}{'-validated' * validated}.pt"
    write(path, vars(checkpoint))
    there = find(work)
    good = [found for found in there if found.validated][-1:]
    for found in there[:-keep]:
        if found not in good:
            found.path.unlink()


def write(path: Path, values: dict[str, Any]) -> None:
    """Write a dictionary of tensors and plain values, whole and on the disk before it takes its name."""
    with replacing(path) as part, part.open("wb") as file:
        try:
            torch.save(values, file)
        except RuntimeError as error:  # torch closes its archive on the way out, and fails once more
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """What :func:`write` wrote; on the CPU. ``mapped``: its tensors are read only when they are used.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        raise UserError(
            f"the checkpoint {path} cannot be read: {error}", f"delete it to go on from the one before: rm {path}"
        ) from error
    return values


def load(work: Path) -> Checkpoint | None:
    """The newest checkpoint in ``work``, or None where there is none.

    Raises:
        UserError: it cannot be read.
    """
    there = find(work)
    return Checkpoint(**read(there[-1].path)) if there else None


def drop_unvalidated(work: Path) -> None:
    """Remove the checkpoints newer than the last one whose samples were good; all stay where none ever was."""
    there = find(work)
    good = [found.step for found in there if found.validated]
    for found in there:
        if good and found.step > good[-1]:
            found.path.unlink()
