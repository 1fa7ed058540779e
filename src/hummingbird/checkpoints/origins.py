"""Where the files of a checkpoint lie at an origin: an address, or a folder or file of this machine."""

from __future__ import annotations

from pathlib import Path

from hummingbird.checkpoints.catalogue import Checkpoint, File
from hummingbird.checkpoints.hub import hub_files, hub_source
from hummingbird.checkpoints.sources import FileSource, HttpSource, Source
from hummingbird.errors import UserError
from hummingbird.streams.bucket import BucketSource
from hummingbird.streams.stream import UnavailableError


def resolve(name: str, row: Checkpoint, origin: str | Path) -> list[tuple[File, Source]]:
    """The files of a checkpoint at ``origin``, each with its source.

    Raises:
        UnavailableError: a file is not there.
        UserError: ``origin`` is no address.
    """
    if isinstance(origin, Path):
        return [(file, FileSource(path)) for file, path in _local_files(name, row, origin)]
    if row.patterns:
        fixed, files = hub_files(origin, row)
        return [(file, hub_source(f"{fixed}/{file.path}")) for file in files]
    whole = origin.startswith("hf://") and origin.count("/") == 3  # a repository
    if whole or origin.endswith("/"):
        return [(file, source_of(f"{origin.rstrip('/')}/{file.path}")) for file in row.files]
    if len(row.files) > 1:
        raise UserError(f"{name} has {len(row.files)} files", "give the address of their folder, with / at its end")
    return [(row.files[0], source_of(origin))]


def source_of(address: str) -> Source:
    """The source of the file at an address, by its scheme.

    Raises:
        UserError: the scheme is none of ours; or see :func:`hub_source`.
    """
    scheme = address.split("://")[0]
    if scheme == "hf":
        return hub_source(address)
    if scheme == "s3":
        return BucketSource(address)
    if scheme in ("http", "https"):
        return HttpSource(address)
    raise UserError(f"{address!r} is no address", "write hf://owner/repository, s3://bucket/key or https://host/path")


def _local_files(name: str, row: Checkpoint, origin: Path) -> list[tuple[File, Path]]:
    """The files of a checkpoint in a folder of the user's: below NAME/ in it, or in it; ``origin`` may be the file."""
    if origin.is_file() and len(row.files) == 1:
        return [(row.files[0], origin)]
    if row.patterns:  # only in a folder of the checkpoint's own: *.json is the name of many things
        folder = origin if origin.resolve().name == name else origin / name
        paths = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        if found := [path for path in paths if row.matches(path)]:
            return [(File(path=path), folder / path) for path in found]
        raise UnavailableError(f"{folder} has no file like {', '.join(row.patterns)}", f"put the files in {folder}")
    pairs = []
    for file in row.files:
        places = [folder / path for folder in (origin / name, origin) for path in (file.path, Path(file.path).name)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise UnavailableError(f"{origin} has no {file.path} of {name}", f"put it at {places[0]}")
        pairs.append((file, path))
    return pairs
