"""What MLflow has not been told yet: a folder per open run, which survives a dead server and a killed process.

All that a run records is written here first and sent from here (:mod:`hummingbird.ops.delivery`)::

    .work/outbox/ID/run.json        which run it is: key, name, tags, start; its id, once MLflow has given it one
                    journal.jsonl   records that wait, one a line
                    sent            bytes of the journal that MLflow has taken
                    files/          artifacts that wait, at their paths in the run; each goes when it is sent
                    alive           touched every few seconds
                    lock            held by the process whose run it is; if nobody holds it, that process has ended

A folder goes when its run has ended and MLflow has all of it. ``.work/outbox/refused/ID.jsonl`` keeps the records that
MLflow will never take, each with its reason, and ``refused/ID/`` such artifacts.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, read_json, replacing, write_json

Record = dict[str, Any]  # {"metrics": [[name, value, ms, step], ...]}, {"params": {}}, {"tags": {}}, ...
REFUSED = "refused"
ALIVE = "alive"
ABROAD = 600.0  # seconds
LARGE = 16 << 20  # bytes; larger artifacts are linked: only published files, which nobody writes to, are so large


def work_folder(root: Path) -> Path:
    """``.work`` of the project, also seen from a checkout inside it, which may be gone before all is sent."""
    above = root.resolve().parent
    if above.name == "worktrees" and above.parent.name == ".work":  # where a flow has its checkouts
        return work_folder(above.parent.parent)
    return root / ".work"


def outbox(root: Path) -> Path:
    """The folder with an entry for each run that MLflow does not have all of."""
    return work_folder(root) / "outbox"


class Entry:
    """One run's folder. Only the process that holds its lock writes to it or sends from it; its threads may share it.
    Without the lock it may be read.

    Attributes:
        who: what ``run.json`` says: ``key, name, tags, start, parent, uri, host, pid``, ``run_id`` or null, and
            ``ended``: how and when, once it has.
    """

    def __init__(self, folder: Path, lock: FileLock | None) -> None:
        self.folder = folder
        self.who: dict[str, Any] = read_json(folder / "run.json")
        self._lock = lock
        self._changing = threading.Lock()
        self._torn = True  # the last process may have been killed within a line

    @property
    def refused(self) -> Path:
        """Where artifacts are that MLflow will never take; the records are beside it."""
        return self.folder.parent / REFUSED / self.folder.name

    @property
    def key(self) -> str:
        return str(self.who["key"])

    @property
    def run_id(self) -> str | None:
        return self.who.get("run_id")

    def know(self, **facts: Any) -> None:
        """Add to what ``run.json`` says."""
        with self._changing:
            self.who |= facts
            write_json(self.folder / "run.json", self.who)

    # writing -----------------------------------------------------------------------------------------------
    def append(self, record: Record, *, durable: bool = True) -> None:
        """Add a record to the journal. It survives a killed process, and a power cut if it is ``durable``.

        Raises:
            OSError: it could not be written; nothing of it counts.
        """
        line = json.dumps(record).encode() + b"\n"
        with self._changing:
            if self._torn:
                line = b"\n" + line
            self._torn = True
            with (self.folder / "journal.jsonl").open("ab", buffering=0) as journal:
                if journal.write(line) != len(line):
                    raise OSError(f"{journal.name}: no space for a record")
                if durable:
                    os.fsync(journal.fileno())
            self._torn = False

    def put(self, source: Path, where: str) -> None:
        """Keep a file as it is now, as the run's artifact ``where``, in place of one that waits there."""
        part = self.folder / f"part-{uuid.uuid4().hex}"
        target = self.folder / "files" / where
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.stat().st_size > LARGE:
                link_or_copy(source, part)
            else:
                shutil.copyfile(source, part)
            with self._changing:
                os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    # sending -----------------------------------------------------------------------------------------------
    def unsent(self) -> list[tuple[Record, int]]:
        """The records that wait, each with the length of the journal up to its end."""
        journal = self.folder / "journal.jsonl"
        if not journal.is_file():
            return []
        position = self._position()
        with journal.open("rb") as stream:
            stream.seek(position)
            lines = stream.read().splitlines(keepends=True)
        found = []
        for line in lines:
            if not line.endswith(b"\n"):
                break  # still being written, or never finished
            position += len(line)
            if record := _parsed(line):
                found.append((record, position))
        return found

    def mark_sent(self, position: int) -> None:
        """Remember that MLflow has the journal up to ``position``; an empty journal starts again from nothing.

        Whatever of this a kill or a full disk prevents: the worst is that records are sent again, which is harmless.
        """
        with self._changing:
            journal, sent = self.folder / "journal.jsonl", self.folder / "sent"
            if journal.stat().st_size <= position:
                sent.unlink(missing_ok=True)  # first: it would point into what comes after
                os.truncate(journal, 0)
                return
            with suppress(UserError), replacing(sent) as part:
                part.write_text(str(position))

    def refuse(self, record: Record, reason: str) -> None:
        """Put a record aside that MLflow will not take however often it is sent."""
        path = self.refused.with_suffix(".jsonl")
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as refused:
            refused.write(json.dumps({"run": self.who["name"], "reason": reason, **record}) + "\n")

    def refuse_file(self, file: Path, seen: os.stat_result, where: str, reason: str) -> None:
        """As :meth:`refuse`, for an artifact, unless another has taken its place since it was ``seen``."""
        kept = self.refused / where
        kept.parent.mkdir(parents=True, exist_ok=True)
        with self._changing:
            if not _is(file, seen):
                return
            os.replace(file, kept)
        self.refuse({"artifact": where, "file": str(kept)}, reason)

    def files(self) -> list[tuple[Path, str]]:
        """Artifacts that wait, with their paths in the run."""
        folder = self.folder / "files"
        return [(path, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*")) if path.is_file()]

    def forget(self, file: Path, seen: os.stat_result) -> None:
        """Remove an artifact that was sent, unless another has taken its place since it was ``seen``."""
        with self._changing:
            if _is(file, seen):
                file.unlink()

    def sync_to_disk(self) -> None:
        """Make the records that are not durable yet survive a power cut."""
        journal = self.folder / "journal.jsonl"
        if journal.is_file():
            with journal.open("rb") as stream:
                os.fsync(stream.fileno())

    def waiting(self) -> tuple[int, int]:
        """How many records and artifacts MLflow does not have."""
        return len(self.unsent()), len(self.files())

    # the folder itself -------------------------------------------------------------------------------------
    def stay_alive(self) -> None:
        """Tell other machines that this run goes on: the lock of a shared file system may not reach them."""
        (self.folder / ALIVE).touch()

    def last_change(self) -> int:
        """When something was last recorded, in ms since 1970."""
        places = [self.folder / name for name in ("run.json", "journal.jsonl")]
        return int(max(path.stat().st_mtime for path in places if path.exists()) * 1000)

    def release(self) -> None:
        if self._lock:
            self._lock.release()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    def _position(self) -> int:
        sent = self.folder / "sent"
        position = int(sent.read_text() or 0) if sent.is_file() else 0
        return position if position <= (self.folder / "journal.jsonl").stat().st_size else 0


def _is(file: Path, seen: os.stat_result) -> bool:
    now = file.stat()
    return (now.st_ino, now.st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns)


def _parsed(line: bytes) -> Record | None:
    """None for an empty line, and for one that was cut off by a killed process before it was whole."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def open_entry(root: Path, who: Mapping[str, Any]) -> Entry:
    """Make the folder of a run that begins now, held by this process.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    name = f"{time.time_ns() // 1000}-{uuid.uuid4().hex[:8]}"  # in order of their start
    part, folder = outbox(root) / f".{name}", outbox(root) / name
    with explain_disk_errors(folder):
        (part / "files").mkdir(parents=True)
        lock = FileLock(part / "lock", timeout=0, thread_local=False)
        lock.acquire()
        write_json(part / "run.json", {"run_id": None, "host": socket.gethostname(), "pid": os.getpid(), **who})
        os.replace(part, folder)
    return Entry(folder, lock)


def folders(root: Path) -> list[Path]:
    """The folders of all runs that MLflow may not have all of, oldest first."""
    return sorted(path for path in outbox(root).glob("[!.]*") if (path / "run.json").is_file())


def take_over(folder: Path) -> Entry | None:
    """The entry of a process that has ended, held by this one; None if that process is alive, or the folder is gone.

    A process of another machine counts as alive also if it was :data:`ABROAD` seconds ago.
    """
    lock = FileLock(folder / "lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return None
    if not (folder / "run.json").is_file():  # it was removed while we looked
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
        return None
    entry = Entry(folder, lock)
    if entry.who.get("host") != socket.gethostname() and time.time() - _last_sign(folder) < ABROAD:
        entry.release()
        return None
    return entry


def _last_sign(folder: Path) -> float:
    """When the process whose run it is was last seen at work, in s since 1970."""
    return max(path.stat().st_mtime for path in folder.iterdir() if path.name in (ALIVE, "run.json", "journal.jsonl"))
