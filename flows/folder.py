"""The folder in which a run of the pipeline works: the project's own, or a git worktree (:mod:`flows.worktree`). A run
first waits until it has the folder for itself, then puts its parameters in place; runs would overwrite each other's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows import worktree
from flows.settings import Settings
from hummingbird.errors import UserError
from hummingbird.profiles import use_profile

LOCK = ".work/flow.lock"


@contextmanager
def working_folder(root: Path, settings: Settings, say: Callable[[str], None]) -> Iterator[Path]:
    """Wait for the folder of a run with ``settings`` in the project ``root``, and keep it with its parameters in place.

    Args:
        say: called with a line if it has to wait.

    Raises:
        UserError: ``root`` is no project, a setting is wrong, or a git worktree is asked for and cannot be made.
    """
    root = root.absolute()
    if not (root / "dvc.yaml").is_file():
        raise UserError(f"{root} has no dvc.yaml, so it is no project", "go to the project's folder")
    apart = worktree.describe(root, settings) if settings.apart else None
    folder = apart.folder if apart else root
    with alone_in(folder, say):
        if forget_damaged_locks(folder):
            say("DVC's table of locks was cut off by a killed process or a full disk; it starts anew")
        if apart:
            worktree.prepare(apart)
        elif settings.profile:
            use_profile(settings.profile, folder)
        yield folder


@contextmanager
def alone_in(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other run works in ``folder``. The lock ends with its process, however that ends."""
    path = _lock_of(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting until another run of the pipeline in {folder} is done")
        lock.acquire(poll_interval=1)
    try:
        yield
    finally:
        lock.release()


def forget_damaged_locks(folder: Path) -> bool:
    """Remove DVC's table of locks if a killed process, or a full disk, left half of it: DVC refuses to work with it,
    and writes it in place. Returns whether it did.

    For a run that has ``folder`` to itself; another DVC process that is writing the table is waited for.
    """
    from dvc.lock import LockError, make_lock

    table = folder / ".dvc/tmp/rwlock"
    if not table.is_file():
        return False
    try:
        with make_lock(str(table.with_name("rwlock.lock"))):
            if _is_json(table):
                return False
            table.unlink(missing_ok=True)
            return True
    except LockError:  # DVC is busy with it, so it is not damaged
        return False


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def _lock_of(folder: Path) -> Path:
    """Within the project; beside a worktree, which is yet to be made."""
    apart = folder.parent.as_posix().endswith(f"/{worktree.FOLDER}")
    return folder.with_name(f"{folder.name}.lock") if apart else folder / LOCK
