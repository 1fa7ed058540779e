"""Sends what runs left in the outbox: MLflow was away when they ended, or they were killed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hummingbird.files import read_json
from hummingbird.ops import outage
from hummingbird.ops.delivery import StoreAwayError, deliver
from hummingbird.ops.outbox import REFUSED, Entry, folders, outbox, take_over
from hummingbird.ops.server import shown, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass
class Synced:
    """Names of the runs in the outbox, by what became of them; with the reason, where they wait."""

    sent: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)  # those of ``sent`` whose process ended without a word
    running: list[str] = field(default_factory=list)
    elsewhere: dict[str, str] = field(default_factory=dict)  # with the address that they belong to
    failed: dict[str, str] = field(default_factory=dict)
    silent: bool = False  # MLflow answers no more: the others were not tried
    store_away: bool = False  # so the artifacts of others were not tried


def sync(root: Path, connection: tuple[MlflowClient, str], key: str | None = None) -> Synced:
    """Send what waits of every run whose process has ended. A run that was killed ends as KILLED, at the time of its
    last record.

    Args:
        key: only of runs with this key.
    """
    done = Synced()
    for folder in folders(root):
        if done.silent:
            break
        if key and read_json(folder / "run.json").get("key") != key:
            continue
        entry = take_over(folder)
        if entry is None:
            done.running.append(folder.name)
            continue
        try:
            _send(root, entry, connection, done)
        finally:
            entry.release()
    return done


def outlook(root: Path) -> list[str]:
    """A line for each run in the outbox, and one for records that MLflow would not take."""
    lines = []
    for folder in folders(root):
        entry = take_over(folder)
        reader = entry or Entry(folder, None)
        with suppress(OSError, KeyError):  # an open run may end and go while we look
            records, files = reader.waiting()
            state = "ended" if reader.who.get("ended") else "killed"
            if entry is None:
                state = f"open, process {reader.who['pid']} on {reader.who['host']}"
            began = datetime.fromtimestamp(reader.who["start"] / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
            lines.append(f"{reader.who['name']}: {records} records and {files} artifacts; {state}, began {began}")
        if entry:
            entry.release()
    refused = sorted((outbox(root) / REFUSED).glob("*.jsonl"))
    return lines + [f"MLflow refused records of a run; see {path}" for path in refused]


def _send(root: Path, entry: Entry, connection: tuple[MlflowClient, str], done: Synced) -> None:
    name = str(entry.who["name"])
    if entry.who["uri"] != shown(tracking_uri(root)):
        done.elsewhere[name] = str(entry.who["uri"])
        return
    killed = not entry.who.get("ended")
    try:
        if killed:
            entry.know(ended={"status": "KILLED", "at": entry.last_change()})
        deliver(*connection, entry, files=not done.store_away)
    except Exception as error:  # whatever MLflow's client or the store of artifacts raise
        done.failed[name] = str(error)
        if isinstance(error, StoreAwayError):
            done.store_away = True
        else:
            done.silent = outage.is_silent(error)
        return
    done.sent.append(name)
    if killed:
        done.killed.append(name)
