"""Where a source's text says that a video lies: an address, or a file below one folder and nowhere else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

VIDEOS = frozenset((".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"))
MISSING = "missing: no such file"
Place = tuple[str, str]  # uri and problem, one of them empty


def address(text: str, root: Path | None) -> Place:
    """An address with a scheme as it is; a path or ``file:`` address as that of the file below ``root``."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        return "", f"bad_address: {error}"
    if "://" in text and parts.scheme != "file":
        return text, ""
    if not text or root is None:
        return "", "bad_address: no scheme" if text else "no_address"
    return local([root / (unquote(parts.path) if parts.scheme == "file" else text)], root)


def local(candidates: Iterable[Path], root: Path) -> Place:
    """The first of the candidates that is a file below ``root``, whatever links and ``..`` are on the way."""
    for path in candidates:
        try:
            if path.is_file() and path.resolve().is_relative_to(root.resolve()):
                return str(path.absolute()), ""
        except (OSError, ValueError):  # a name that is too long, or holds a NUL
            continue
    return "", MISSING


def folder_state(folder: Path) -> str:
    """A hash that changes with the name, size or date of any file below ``folder``; needs no list of them."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            text = f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}"
            total += int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest(), "big")
    return f"{total % (1 << 256):064x}"
