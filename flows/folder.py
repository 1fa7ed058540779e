"""The folder in which a run of the pipeline works: the project's own, or a git worktree (:mod:`flows.worktree`). A run
first waits until it has the folder for itself, then puts its parameters in place; runs would overwrite each other's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from flows import worktree
from flows.settings import Settings
from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.ops.services.processes import CLOCK_SLACK
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
        if tidy_locks(folder):
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


def tidy_locks(folder: Path) -> bool:
    """Take out of DVC's table of locks what processes hold that are gone, and remove the whole table if one of them, or
    a full disk, left half of it: DVC writes it in place, and refuses to work with half. Returns whether it was half.

    DVC itself forgets the dead only when they are in its way, and takes any process for the holder that got the number
    of a dead one since, as after a restart of the machine.

    For a run that has ``folder`` to itself; another DVC process that is writing the table is waited for.
    """
    from dvc.lock import LockError, make_lock

    table = folder / ".dvc/tmp/rwlock"
    if not table.is_file():
        return False
    try:
        with make_lock(str(table.with_name("rwlock.lock"))):
            try:
                found = read_json(table)
            except ValueError:
                table.unlink(missing_ok=True)
                return True
            held = _held_by_the_living(found, table.stat().st_mtime)
            if held != found:
                write_json(table, held)
            return False
    except LockError:  # DVC is busy with it, so it is not damaged
        return False


def _held_by_the_living(table: Mapping[str, Any], changed: float) -> dict[str, Any]:
    """What is left of DVC's table, ``changed`` last at that time (seconds of the epoch), without the dead."""
    write = {path: info for path, info in table.get("write", {}).items() if _lives(info, changed)}
    read = {path: [info for info in infos if _lives(info, changed)] for path, infos in table.get("read", {}).items()}
    return {"write": write, "read": {path: infos for path, infos in read.items() if infos}}


def _lives(info: Mapping[str, Any], changed: float) -> bool:
    """Whether a process in the table lives; one that began after the last entry was made is another."""
    try:
        return psutil.Process(int(info["pid"])).create_time() < changed + CLOCK_SLACK
    except psutil.NoSuchProcess:
        return False


def _lock_of(folder: Path) -> Path:
    """Within the project; beside a worktree, which is yet to be made."""
    apart = folder.parent.as_posix().endswith(f"/{worktree.FOLDER}")
    return folder.with_name(f"{folder.name}.lock") if apart else folder / LOCK
