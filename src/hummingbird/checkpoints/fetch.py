"""Fetches checkpoints into the store: from their public addresses, from another address, or from a local folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hummingbird.checkpoints.catalogue import Catalogue, Checkpoint, File
from hummingbird.checkpoints.imports import Record, read_records, write_record
from hummingbird.checkpoints.origins import resolve
from hummingbird.checkpoints.sources import FileSource, Source
from hummingbird.checkpoints.store import Store
from hummingbird.checkpoints.transfer import Wanted, take_link, transfer
from hummingbird.errors import UserError
from hummingbird.runlog import RunLog
from hummingbird.streams.stream import UnavailableError


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
    absent = {name: row for name, row in chosen.items() if not is_recorded(store, name, row)}
    _require_consent(absent, options)
    _require_origins(absent, options)
    fetcher, done = _Fetcher(store, options, log), {}
    for name, row in chosen.items():
        with store.only_one(name):
            done[name] = not _is_complete(store, name, row)
            if done[name]:
                fetcher.fetch(name, row)
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
        store.holds(name, path, record.sha256) for path, record in read_records(store, name).items()
    )


def _require_consent(absent: Catalogue, options: Options) -> None:
    asked = [f"{name}: {row.licence.name}" for name, row in absent.items() if not row.licence.permissive]
    if asked and not options.accept_licences:
        listed = "\n  ".join(["these licences must be accepted:", *asked])
        raise UserError(listed, "read them, then run the same with --accept-licenses")


def _require_origins(rows: Catalogue, options: Options) -> None:
    lost = [f"{name}: {row.note or row.what}" for name, row in rows.items() if not row.sources]
    if lost and not (options.folder or options.source):
        listed = "\n  ".join(["the table knows no public address of:", *lost])
        raise UserError(listed, "give the address with --source (one at a time), or the files with --from FOLDER")


@dataclass(frozen=True)
class _Fetcher:
    """Fetches one checkpoint after another, the same way."""

    store: Store
    options: Options
    log: RunLog

    def fetch(self, name: str, row: Checkpoint) -> None:
        """Try the origins in turn; one that has no such file is passed over."""
        _require_origins({name: row}, self.options)
        own: list[str | Path] = [it for it in (self.options.folder, self.options.source) if it]
        origins = own or [*row.sources]
        failures: list[UnavailableError] = []
        for origin in origins:
            try:
                files = resolve(name, row, origin)
                for file, source in files:
                    record = self._bring(name, file, source, row.licence.name, len(files))
                    if record:
                        write_record(self.store, record)
                return
            except UnavailableError as error:
                failures.append(error)
        raise UserError("\n  ".join(error.problem for error in failures), failures[-1].next_step)

    def _bring(self, name: str, file: File, source: Source, licence: str, count: int) -> Record | None:
        """Bring one of ``count`` files into the store; None if it is there."""
        old = read_records(self.store, name).get(file.path)
        wanted = Wanted(file)
        if old and file.sha256 is None:
            pinned = file.model_copy(update={"sha256": old.sha256, "bytes": old.bytes})
            record = f"{self.store.imports}/{name}/{file.path}.dvc"
            wanted = Wanted(pinned, f"{record}, written at the first fetch; delete that to accept another")
        if old and old.sha256 == wanted.file.sha256 and self.store.is_intact(old.sha256):
            self.store.name(name, file.path, old.sha256)
            return None
        partial = self.store.partial(name, file.path)
        if self.options.link and isinstance(source, FileSource):
            digest = take_link(source, partial, wanted)
        else:
            digest = transfer(source, partial, wanted, self.log)
        self.store.keep(partial, digest.sha256)
        self.store.name(name, file.path, digest.sha256)
        place = source.address if source.url else "a local file"
        return Record(
            name, file.path, digest.sha256, digest.md5, digest.bytes, place, source.url, licence, count
        )  # fmt: skip
