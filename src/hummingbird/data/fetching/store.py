"""Where fetched files lie: whole ones and unfinished ones apart, each under a name that no clip can choose."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from hummingbird.data.sources.base import Item
from hummingbird.files import explain_disk_errors
from hummingbird.streams.partial import Partial

_CLIP_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class FileStore:
    """Files below ``folder``, by item. Another address of the same clip is another file."""

    folder: Path

    def name(self, item: Item) -> str:
        """
        Raises:
            ValueError: the source gave an id that is not safe as a file name.
        """
        if not _CLIP_ID.fullmatch(item.clip_id):
            raise ValueError(f"clip id {item.clip_id!r} is not safe as a file name: make it with ids.safe_id")
        return f"{item.clip_id}.{hashlib.sha256(item.uri.encode(errors='surrogatepass')).hexdigest()[:12]}"

    def path(self, item: Item) -> Path:
        """The whole file, in one of 256 folders: file systems are slow with millions in one."""
        name = self.name(item)
        return self.folder / "files" / hashlib.sha256(name.encode()).hexdigest()[:2] / name

    def partial(self, item: Item) -> Partial:
        """The file while it is not whole."""
        return Partial(self.folder / "partial" / f"{self.name(item)}.part")

    def finish(self, item: Item, partial: Partial) -> Path:
        """Give a whole file its place.

        Raises:
            UserError: the disk cannot be written to.
        """
        path = self.path(item)
        with explain_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial.path, path)
            partial.note.unlink(missing_ok=True)
        return path


def sha256_of(path: Path) -> str:
    """Of a file, which may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
