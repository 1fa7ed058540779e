"""One open run. What is said to it is in the outbox at once and in MLflow some seconds later, sent by a thread, so that
neither a slow server nor a dead one holds up the work."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hummingbird.errors import UserError
from hummingbird.ops import server
from hummingbird.ops.delivery import BY_KEY, deliver
from hummingbird.ops.outbox import Entry, Record, open_entry
from hummingbird.ops.syncing import sync

if TYPE_CHECKING:
    from mlflow import MlflowClient

SEND_EVERY = 5.0  # seconds; one request per training step would cost more than a small step
RETRY_EVERY = 30.0  # seconds, while the server is away

_open: list[Recording] = []


class Recording:
    """Records to one run of MLflow.

    Args:
        entry: the run's folder in the outbox.
        connection: client and experiment; None while the server is away.
    """

    def __init__(self, root: Path, entry: Entry, connection: tuple[MlflowClient, str] | None) -> None:
        self.root = root
        self.key = entry.key
        self._entry = entry
        self._connection = connection
        self._unwritten: list[tuple[Record, bool]] = []  # in memory until the disk takes it
        self._saying = threading.Lock()
        self._sending = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._warned = set() if connection else {"server"}  # whoever opened it has said so
        self._dropped: list[str] = []

    @property
    def run_id(self) -> str | None:
        """The run's id; None as long as MLflow has not heard of it."""
        return self._entry.run_id

    @property
    def reference(self) -> str:
        """What names this run as the parent of others: its id, or its key as long as it has none."""
        return self.run_id or f"{BY_KEY}{self.key}"

    def say(self, record: Record, *, durable: bool = True) -> None:
        """Record something. Never fails: hours of work must not die of a lost record."""
        with self._saying:
            self._unwritten.append((record, durable))
            self._write()

    def keep(self, file: Path, where: str) -> None:
        """Record a file as the artifact ``where``."""
        try:
            self._entry.put(file, where)
        except OSError as error:
            self.drop(where, error)

    def drop(self, name: str, error: Exception) -> None:
        """Go on without an artifact, and say so: at once of the first, at the end of all."""
        self.warn("artifact", f"{name} is not in the record of this run: {error}")
        self._dropped.append(name)

    def warn(self, kind: str, text: str) -> None:
        """Say that the record of this run is not what it should be, once for each kind of cause."""
        if kind not in self._warned:
            print(f"warning: {text}", file=sys.stderr)
        self._warned.add(kind)

    def start(self) -> None:
        """Send what is recorded from now on, every few seconds, after what other runs have left behind."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._send_now_and_then, name="recording", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing until the next :meth:`start`."""
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def send(self, *, new: bool = False, besides: Sequence[Record] = ()) -> bool:
        """Send what waits now, and records ``besides`` it. False if MLflow, or the store of its artifacts, does not
        take all of it."""
        with self._sending:
            try:
                if self._connection is None:
                    self._connection = server.connect(self.root)
                deliver(*self._connection, self._entry, new=new, besides=besides)
            except Exception as error:  # whatever it is: of MLflow, requests, boto3, a database
                self._connection = None
                self.warn("server", f"MLflow does not take the record of this run now: {error}")
                with suppress(OSError):
                    self._entry.sync_to_disk()
                return False
            return True

    def close(self, status: str) -> None:
        """End the run. What MLflow does not take now waits in the outbox."""
        self.stop()
        with self._saying:
            self._write()
            unwritten = [record for record, _ in self._unwritten]
        try:
            self._entry.know(ended={"status": status, "at": now()})
        except (OSError, UserError) as error:
            self.warn("disk", f"the end of this run cannot be written: {error}")
        try:
            if not self.send(besides=unwritten):
                self._say_what_waits(len(unwritten))
        finally:
            self._entry.release()
        if self._dropped:
            print(f"{len(self._dropped)} artifacts are not in the record: {shortened(self._dropped)}", file=sys.stderr)

    def _say_what_waits(self, lost: int) -> None:
        records, files = self._entry.waiting()
        if lost:
            print(f"{lost} records are lost, for which the disk had no space", file=sys.stderr)
        print(
            f"{records} records and {files} artifacts of run {self._entry.who['name']} wait in .work/outbox; "
            "the next run sends them, or: hummingbird track sync",
            file=sys.stderr,
        )

    def _write(self) -> None:
        while self._unwritten:
            record, durable = self._unwritten[0]
            try:
                self._entry.append(record, durable=durable)
            except OSError as error:
                return self.warn("disk", f"the record of this run cannot be written: {error}")
            del self._unwritten[0]

    def _send_now_and_then(self) -> None:
        if self._connection:
            self._send_left_behind(self._connection)
        wait = SEND_EVERY
        while not self._stopping.wait(wait):
            with suppress(OSError):
                self._entry.stay_alive()
            if self.run_id is None or any(self._entry.waiting()):
                wait = SEND_EVERY if self.send() else RETRY_EVERY

    def _send_left_behind(self, connection: tuple[MlflowClient, str]) -> None:
        try:
            sync(self.root, connection)
        except Exception as error:  # none of it is this run's
            self.warn("left behind", f"what other runs left in .work/outbox cannot be sent: {error}")


def shortened(names: Sequence[str], first: int = 5) -> str:
    """Some names as text, and how many more there are."""
    return ", ".join(names[:first]) + (f" and {len(names) - first} more" if len(names) > first else "")


@contextmanager
def silence() -> Iterator[None]:
    """Keep the threads of all open runs of this process still: the block measures time."""
    stopped = list(_open)
    for run in stopped:
        run.stop()
    try:
        yield
    finally:
        for run in stopped:
            run.start()


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


@contextmanager
def recording(
    root: Path, name: str, tags: Mapping[str, str], parent: str | None = None, key: str | None = None
) -> Iterator[Recording]:
    """Open a run, and end it with the status that the block deserves.

    Args:
        parent: :attr:`Recording.reference` of the run above it.
        key: of a run that several processes record to in turn, each for its part; None makes a run of its own.

    Raises:
        UserError: the server cannot be used, and is not one that answered before.
    """
    connection = None
    try:
        connection = server.connect(root)
        if key:
            sync(root, connection, key)  # when the run began is in its first part
    except server.UnreachableError as error:
        if not server.has_answered(root):
            raise
        server.warn_of_outage(error)
    who = {
        "key": key or uuid.uuid4().hex,
        "shared": key is not None,
        "name": name,
        "tags": {**tags, **_process()},
        "start": now(),
        "parent": parent,
        "uri": server.shown(server.tracking_uri(root)),
    }
    entry = open_entry(root, who)
    open_run = Recording(root, entry, connection)
    if connection is not None:
        open_run.send(new=True)
    open_run.start()
    _open.append(open_run)
    status = "FINISHED"
    try:
        yield open_run
    except Exception as error:
        status = "FAILED"
        open_run.say({"tags": {"error": f"{type(error).__name__}: {error}"[:500]}})
        raise
    except BaseException:  # interrupts of every kind
        status = "KILLED"
        raise
    finally:
        _open.remove(open_run)
        open_run.close(status)


def _process() -> dict[str, str]:
    return {"hummingbird.host": socket.gethostname(), "hummingbird.pid": str(os.getpid())}
