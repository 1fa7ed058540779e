"""What of the table is there: a quick look for the list, a full reading for verification."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hummingbird.checkpoints.catalogue import Catalogue, Checkpoint, catalogue, choose
from hummingbird.checkpoints.imports import Record, read_records
from hummingbird.checkpoints.store import Store
from hummingbird.errors import UserError
from hummingbird.runlog import RunLog


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was recorded."""

    name: str
    path: Path
    problem: str


@dataclass(frozen=True)
class Source:
    """A checkpoint whose files were read and are as recorded."""

    name: str
    folder: Path
    records: tuple[Record, ...]


def state(store: Store, name: str, row: Checkpoint) -> str:
    """Where a checkpoint stands, by names and sizes: nothing is read."""
    records = read_records(store, name)
    whole = [record for record in records.values() if _is_there(store, record)]
    count = len(row.files) or next((record.files for record in records.values()), 0)
    if count and len(whole) == count:
        return "here"
    if lost := len(records) - len(whole):
        return f"{lost} of {count} files lost"
    if come := sum(store.partial(name, file.path).size for file in row.files):
        return f"unfinished, {come / 1e6:.0f} MB here"
    return f"{len(whole)} of {count} files" if whole else "-"


def _is_there(store: Store, record: Record) -> bool:
    return store.is_whole(record.sha256, record.bytes) and store.path(record.name, record.path).is_file()


def find_damage(store: Store, names: Iterable[str], log: RunLog) -> tuple[int, list[Damage]]:
    """Read every recorded file of ``names`` again; returns how many there are, and those that are not as recorded."""
    records = [record for name in names for record in read_records(store, name).values()]
    damage = []
    for record in log.progress(records, "verifying", len(records)):
        path, blob = store.path(record.name, record.path), store.blob(record.sha256)
        if not blob.is_file() or not path.is_file():
            damage.append(Damage(record.name, path, "missing"))
        elif blob.stat().st_size != record.bytes:
            damage.append(Damage(record.name, path, f"{blob.stat().st_size} bytes, expected {record.bytes}"))
        elif not store.holds(record.name, record.path, record.sha256):
            damage.append(Damage(record.name, path, f"damaged: its sha256 is not {record.sha256}"))
    return len(records), damage


def require(store: Store, names: Iterable[str], log: RunLog) -> dict[str, Path]:
    """Folder of each checkpoint, all their files verified.

    Raises:
        UserError: a name is unknown, a checkpoint has not been fetched, or a file is missing or damaged.
    """
    chosen = choose(names, catalogue())
    absent = [name for name, row in chosen.items() if state(store, name, row) != "here"]
    if absent:
        raise UserError(
            f"not in {store.root}: {', '.join(absent)}", f"hummingbird checkpoints fetch {' '.join(absent)}"
        )
    _, damage = find_damage(store, chosen, log)
    if damage:
        listed = "\n  ".join(f"{item.path}: {item.problem}" for item in damage)
        broken = " ".join(dict.fromkeys(item.name for item in damage))
        raise UserError(f"checkpoints are damaged:\n  {listed}", f"hummingbird checkpoints fetch {broken}")
    return {name: store.path(name, "") for name in chosen}


def verified(store: Store, names: Iterable[str], log: RunLog) -> dict[str, Source]:
    """Each checkpoint with what was recorded of its files, all of them verified.

    Raises:
        UserError: see :func:`require`; or a folder also holds files that were not fetched, such as those of an earlier
            version.
    """
    found = {}
    for name, folder in require(store, names, log).items():
        records = read_records(store, name)
        _refuse_others(folder, records)
        found[name] = Source(name, folder, tuple(records.values()))
    return found


def _refuse_others(folder: Path, records: Mapping[str, Record]) -> None:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if others := sorted(files - records.keys()):
        raise UserError(
            f"{folder} holds files that were not fetched: {', '.join(others)}",
            f"delete them, then run again: rm {shlex.join(str(folder / other) for other in others)}",
        )


def show(store: Store, table: Catalogue) -> None:
    """Print the table of checkpoints with what is there of each."""
    shown = Table(title="public checkpoints", title_justify="left")
    shown.add_column("name", no_wrap=True)
    shown.add_column("what it is, from where, under which licence")
    shown.add_column("here?", no_wrap=True)
    for name, row in table.items():
        records = read_records(store, name)
        size = sum(record.bytes for record in records.values()) or row.bytes
        place = ", ".join(row.sources) or "no known address: --source or --from"
        consent = "" if row.licence.permissive else " [to be accepted]"
        about = f"{row.what}\n{place}\n{row.licence.name}{consent}"
        pinned = "pinned" if row.pinned else "pinned by fetch" if records else "unpinned"
        here = f"{state(store, name, row)}\n{f'{size / 1e6:.1f} MB' if size else 'size unknown'}\n{pinned}"
        shown.add_row(*map(escape, (name, about, here)), end_section=True)
    Console().print(shown)


def licences(table: Catalogue) -> str:
    """One line for each checkpoint: its licence, where to read it, and whether it has to be accepted."""
    return "\n".join(
        f"{name}: {row.licence.name}"
        + (f", {row.licence.url}" if row.licence.url else "")
        + ("" if row.licence.permissive else " [to be accepted]")
        for name, row in table.items()
    )
