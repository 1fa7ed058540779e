"""An unfinished file: what has come of it, from where, and the hash of it so far."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, read_json, write_json

_BLOCK = 1 << 22


class Digest:
    """sha256, and the md5 that DVC goes by, of the same bytes."""

    def __init__(self) -> None:
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.bytes = 0

    def update(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        self._md5.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()


@dataclass
class Partial:
    """The file ``path`` and a note beside it: the address it comes from, the version of it there, its whole size.

    The note is written before the first byte, so that what is left of a killed run can be told from anything else.
    """

    path: Path
    digest: Digest = field(default_factory=Digest)
    linked: bool = False  # the file is a hard link to one of the user's

    @property
    def note(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def total(self) -> int | None:
        """Whole size of the file, as its source gave it."""
        return read_json(self.note).get("total")

    def resumable(self, address: str, *, verifiable: bool) -> tuple[int, str]:
        """Where to go on, in bytes, and the version that this holds for; (0, "") to start anew.

        Args:
            verifiable: the sha256 of the whole is known, so that a mixture of two versions would be noticed.
        """
        note = read_json(self.note)
        version = str(note.get("version", ""))
        if note.get("address") != address or not (version or verifiable):
            return 0, ""
        return self.size, version

    @property
    def stated(self) -> str | None:
        """sha256 of the whole file, as its source gave it."""
        return read_json(self.note).get("sha256")

    def begin(self, address: str, version: str, start: int, total: int | None, stated: str | None = None) -> None:
        """Get ready for the bytes from ``start`` on; anything behind it is cut off. The rest goes into the note.

        Raises:
            UserError: the disk cannot be written to, or has too little room for the rest.
        """
        with explain_disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.path.parent).free
            if total is not None and total - start > free:
                raise UserError(
                    f"{address} needs {(total - start) / 1e9:.2f} GB more, {self.path.parent} has {free / 1e9:.2f} GB",
                    "free some disk space and run the same again",
                )
            if start == 0:
                self.discard()
            write_json(self.note, {"address": address, "version": version, "total": total, "sha256": stated})
            with self.path.open("ab") as file:
                file.truncate(start)
        if self.digest.bytes > start:
            self.digest = Digest()

    @contextmanager
    def appending(self) -> Iterator[BinaryIO]:
        """The file, open at its end and hashed so far; synced to disk when the block ends."""
        self.catch_up()
        with self.path.open("ab", buffering=0) as file:
            yield file
            os.fsync(file.fileno())

    def catch_up(self) -> Digest:
        """The hash of everything that is in the file."""
        with self.path.open("rb") as file:
            file.seek(self.digest.bytes)
            while block := file.read(_BLOCK):
                self.digest.update(block)
        return self.digest

    def discard(self) -> None:
        """Forget what has come."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.digest = Digest()
