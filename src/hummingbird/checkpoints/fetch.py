"""Fetches checkpoints into the store: from their public addresses, from another address, or from a local folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hummingbird.checkpoints.bucket import BucketSource
from hummingbird.checkpoints.catalogue import Catalogue, Checkpoint, File
from hummingbird.checkpoints.hub import hub_files, hub_source
from hummingbird.checkpoints.imports import Record, read_records, write_record
from hummingbird.checkpoints.sources import FileSource, HttpSource, Source, UnavailableError
from hummingbird.checkpoints.store import Store
from hummingbird.checkpoints.transfer import Wanted, take_link, transfer
from hummingbird.errors import UserError
from hummingbird.runlog import RunLog


@dataclass(frozen=True)
class Options:
    """How to fetch. ``folder`` (a folder or file of this machine) and ``source`` (an address) replace the table's."""

    accept_licences: bool = False
    folder: Path | None = None
    source: str | None = None
    link: bool = False  # hard-link the files of ``folder``, in place of copying them


def fetch(chosen: Catalogue, store: Store, options: Options, log: RunLog) -> dict[str, bool]:
    """Bring all of ``chosen`` into the store; returns for each whether anything had to be fetched.

    What is there already is read and verified, and fetched anew if it is damaged.

    Raises:
        UserError: a licence is not accepted, no source has the right file, or the disk cannot be written to. What was
            there before stays, and so does every checkpoint that was finished.
    """
    if options.source and len(chosen) != 1:
        raise UserError("--source is the address of one checkpoint", "name just one, or leave out --source")
    _require_consent({name: row for name, row in chosen.items() if not is_recorded(store, name, row)}, options)
    done = {}
    for name, row in chosen.items():
        with store.only_one(name):
            done[name] = not _is_complete(store, name, row)
            if done[name]:
                _fetch_one(name, row, store, options, log)
    return done


def is_recorded(store: Store, name: str, row: Checkpoint) -> bool:
    """Whether every file of the checkpoint has been fetched, by the records and not by what is on the disk."""
    records = read_records(store, name)
    if row.files:
        return all(file.path in records and file.sha256 in (None, records[file.path].sha256) for file in row.files)
    return bool(records) and len(records) == next(iter(records.values())).files


def _is_complete(store: Store, name: str, row: Checkpoint) -> bool:
    """Whether every file of the checkpoint is there with the right content; reads all of it."""
    return is_recorded(store, name, row) and all(
        store.is_intact(record.sha256) and store.path(name, path).exists()
        for path, record in read_records(store, name).items()
    )


def _require_consent(absent: Catalogue, options: Options) -> None:
    asked = [f"{name}: {row.licence.name}" for name, row in absent.items() if not row.licence.permissive]
    if asked and not options.accept_licences:
        listed = "\n  ".join(["these licences must be accepted:", *asked])
        raise UserError(listed, "read them, then run the same with --accept-licenses")


def _fetch_one(name: str, row: Checkpoint, store: Store, options: Options, log: RunLog) -> None:
    """Try the origins in turn; one that has no such file is passed over."""
    origins: list[str | Path] = [*row.sources]
    if options.folder or options.source:
        origins = [origin for origin in (options.folder, options.source) if origin]
    if not origins:
        raise UserError(
            f"no public address of {name} is known to the table ({row.note or row.what})",
            "give its address with --source, or get the file by hand and give it with --from",
        )
    failures: list[UnavailableError] = []
    for origin in origins:
        try:
            files = _resolve(name, row, origin)
            for file, source in files:
                _fetch_file(name, row, file, source, store, options, log, len(files))
            return
        except UnavailableError as error:
            failures.append(error)
    raise UserError("\n  ".join(error.problem for error in failures), failures[-1].next_step)


def _resolve(name: str, row: Checkpoint, origin: str | Path) -> list[tuple[File, Source]]:
    """The files of a checkpoint at ``origin``, each with its source."""
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
    folders = (origin / name, origin)
    if row.patterns:
        for folder in folders:
            paths = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
            if found := [path for path in paths if row.matches(path)]:
                return [(File(path=path), folder / path) for path in found]
        raise UnavailableError(
            f"{origin} has no file like {', '.join(row.patterns)} of {name}", f"put the files in {origin / name}"
        )
    pairs = []
    for file in row.files:
        places = [folder / path for folder in folders for path in (file.path, Path(file.path).name)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise UnavailableError(f"{origin} has no {file.path} of {name}", f"put it at {places[0]}")
        pairs.append((file, path))
    return pairs


def _fetch_file(
    name: str, row: Checkpoint, file: File, source: Source, store: Store, options: Options, log: RunLog, count: int
) -> None:
    """Bring one file into the store, unless it is there, and record it."""
    old = read_records(store, name).get(file.path)
    wanted = Wanted(file)
    if old and file.sha256 is None:
        pinned = file.model_copy(update={"sha256": old.sha256, "bytes": old.bytes})
        wanted = Wanted(pinned, f"{store.imports}/{name}/{file.path}.dvc, written when it was first fetched")
    if old and old.sha256 == wanted.file.sha256 and store.is_intact(old.sha256):
        store.name(name, file.path, old.sha256)
        return
    partial = store.partial(name, file.path)
    if options.link and isinstance(source, FileSource):
        digest = take_link(source, partial, wanted)
    else:
        digest = transfer(source, partial, wanted, log)
    store.keep(partial, digest.sha256)
    store.name(name, file.path, digest.sha256)
    write_record(
        store,
        Record(
            name=name,
            path=file.path,
            sha256=digest.sha256,
            md5=digest.md5,
            bytes=digest.bytes,
            source=source.address if source.url else "a local file",
            url=source.url,
            licence=row.licence.name,
            files=count,
        ),
    )
