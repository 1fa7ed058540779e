"""Whether a part of a source is still what it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hummingbird.data.sources.base import ClipSource, Source, StampedSource


def digest_of(source: Source | ClipSource, first: int, stop: int) -> str:
    """Changes whenever one of the items ``first`` to ``stop`` - 1 does, or a local video that one of them names."""
    total = hashlib.sha256()
    if isinstance(source, ClipSource):
        total.update(f"{source.fingerprint()} {first} {stop}".encode())
        return total.hexdigest()
    if isinstance(source, StampedSource):
        for number in range(first, stop):
            total.update(f"{source.stamp(number)}\n".encode(errors="surrogateescape"))
        return total.hexdigest()
    for item in source.items(first, stop):
        total.update(f"{item!r} {_state(item.uri)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _state(uri: str) -> tuple[int, int] | None:
    """Size and time of a local file."""
    try:
        status = Path(uri).stat()
    except (OSError, ValueError):  # an address, or a name that no file can have
        return None
    return status.st_size, status.st_mtime_ns
