"""Where checkpoints lie: files named by their content, links named by their checkpoint.

::

    checkpoints/store/sha256/ab/cdef...    content, read-only
    checkpoints/store/partial/             what has come of unfinished files, to be resumed
    checkpoints/files/NAME/PATH            hard links to the content
    checkpoints/imports/NAME/PATH.dvc      what was fetched, for git and DVC (see imports.py)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy
from hummingbird.models.checkpoints import sha256
from hummingbird.streams.partial import Partial

FOLDER = "checkpoints"


@dataclass(frozen=True)
class Store:
    """The folder ``checkpoints`` of the project in ``project``. Folders are made when something is put there."""

    project: Path = Path()

    @property
    def root(self) -> Path:
        return self.project / FOLDER

    @property
    def imports(self) -> Path:
        return self.root / "imports"

    def blob(self, digest: str) -> Path:
        """Place of the content with this sha256 (hex)."""
        return self.root / "store/sha256" / digest[:2] / digest[2:]

    def path(self, name: str, file: str) -> Path:
        """Place of a checkpoint's file under its own name."""
        return self.root / "files" / name / file

    def partial(self, name: str, file: str) -> Partial:
        """Unfinished ``file`` of checkpoint ``name``; its own name cannot be mistaken for a checkpoint's."""
        key = hashlib.sha256(f"{name}/{file}".encode()).hexdigest()[:16]
        return Partial(self.root / "store/partial" / f"{key}.part")

    def is_whole(self, digest: str, size: int) -> bool:
        """Whether there is content of that size under ``digest``; does not read it."""
        try:
            return self.blob(digest).stat().st_size == size
        except OSError:
            return False

    def is_intact(self, digest: str) -> bool:
        """Whether the content under ``digest`` is there and has that sha256; reads all of it."""
        blob = self.blob(digest)
        return blob.is_file() and sha256(blob) == digest

    def holds(self, name: str, file: str, digest: str) -> bool:
        """Whether ``files/NAME/FILE`` is the content under ``digest``, and that is intact; reads all of it."""
        path, blob = self.path(name, file), self.blob(digest)
        if not (path.is_file() and self.is_intact(digest)):
            return False
        return path.samefile(blob) or sha256(path) == digest  # a copy, where the file system has no links

    def keep(self, partial: Partial, digest: str) -> None:
        """Move a finished and verified file to its place.

        Raises:
            UserError: the store cannot be written to.
        """
        blob = self.blob(digest)
        with explain_disk_errors(blob):
            blob.parent.mkdir(parents=True, exist_ok=True)
            if not partial.linked:  # a hard link shares its rights with the user's own file
                partial.path.chmod(0o444)
            os.replace(partial.path, blob)
        partial.discard()

    def name(self, name: str, file: str, digest: str) -> None:
        """Let ``files/NAME/FILE`` be the content under ``digest``, by a hard link; an older one is replaced.

        Raises:
            UserError: the folder cannot be written to.
        """
        path = self.path(name, file)
        with explain_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            part.unlink(missing_ok=True)
            link_or_copy(self.blob(digest), part)
            os.replace(part, path)

    @contextmanager
    def only_one(self, name: str) -> Iterator[bool]:
        """Hold checkpoint ``name`` alone among all processes; yields whether another one held it first.

        Raises:
            UserError: the store cannot be written to.
        """
        path = self.root / "store/locks" / f"{name}.lock"
        with explain_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        lock, waited = FileLock(path), False
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waited = True
            lock.acquire()
        except OSError as error:
            raise UserError(f"cannot lock {path}: {error}", f"make {path.parent} writable and run again") from error
        try:
            yield waited
        finally:
            lock.release()
