"""Fetches the videos of many items: those on other machines into a folder; those on this one stay where they are."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hummingbird import storage
from hummingbird.data.fetching.attempts import bring
from hummingbird.data.fetching.journal import Journal
from hummingbird.data.fetching.lanes import Lanes
from hummingbird.data.fetching.problems import ProblemError
from hummingbird.data.fetching.store import FileStore, sha256_of
from hummingbird.data.fetching.web import WebVideo, web_client
from hummingbird.data.sources.base import Item
from hummingbird.params import Fetch
from hummingbird.streams.bucket import BucketSource
from hummingbird.streams.stream import Source

_AHEAD = 32  # items per connection that may wait for a slower one before them


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of an item."""

    item: Item
    path: Path | None = None  # of the file, absolute, whole and hashed; None where there is a problem
    sha256: str = ""
    problem: str = ""  # `code: detail`


@dataclass(frozen=True, slots=True)
class _Job:
    item: Item
    settled: Fetched | None  # by the run that this one continues


def fetch(
    items: Iterable[Item], settings: Fetch, folder: Path, *, root: Path | None = None, journal: Path | None = None
) -> Generator[Fetched, None, None]:
    """Fetch every item; the outcomes come in the items' order, one for each.

    A file is there whole or not at all, and what is there already is not fetched again. What a killed run left
    unfinished is resumed if the server still has the same file.

    Args:
        items: taken as needed, a bounded number ahead.
        settings: bounds, and what is refused.
        folder: where fetched files go, and where unfinished ones wait.
        root: the only folder that local videos may lie in; None = there are none.
        journal: file in which outcomes, failures too, are kept for a run that goes on after a kill; None = nowhere.

    Raises:
        UserError: the disk cannot be written to or is full.
    """
    stop = threading.Event()
    fetcher = _Fetcher(settings, FileStore(folder.absolute()), root, stop)
    lanes: Lanes[_Job, Fetched] = Lanes(
        fetcher.outcome,
        fetcher.lane,
        threads=settings.connections,
        per_lane=settings.per_host,
        ahead=_AHEAD * settings.connections,
    )
    with fetcher.client, Journal(journal or Path(":memory:")) as outcomes:
        jobs = (_Job(item, fetcher.settled(item, outcomes)) for item in items)
        with closing(lanes.run(jobs, stop)) as results:
            for fetched in results:
                if fetcher.is_remote(fetched.item):
                    outcomes.put(fetcher.store.name(fetched.item), fetched.sha256, fetched.problem)
                yield fetched


def forget(folder: Path, items: Iterable[Item]) -> None:
    """Delete the fetched files of some items."""
    store = FileStore(folder)
    for item in items:
        store.path(item).unlink(missing_ok=True)


def forget_unfinished(folder: Path) -> None:
    """Delete what never became whole."""
    shutil.rmtree(folder / "partial", ignore_errors=True)


class _Fetcher:
    """What the threads share."""

    def __init__(self, settings: Fetch, store: FileStore, root: Path | None, stop: threading.Event) -> None:
        self.settings, self.store, self.root, self.stop = settings, store, root, stop
        self.client = web_client(settings)
        self._bucket_client: Any = None
        self._lock = threading.Lock()

    def is_remote(self, item: Item) -> bool:
        return "://" in item.uri

    def lane(self, job: _Job) -> str:
        """Server or bucket; empty for what needs none."""
        if job.settled or not self.is_remote(job.item):
            return ""
        return job.item.uri.partition("://")[2].partition("/")[0].rpartition("@")[2].lower()

    def settled(self, item: Item, outcomes: Journal) -> Fetched | None:
        """What the journal knows of an item, if it still holds."""
        if item.problem:
            return Fetched(item, problem=item.problem)
        known = outcomes.get(self.store.name(item)) if self.is_remote(item) else None
        if known is None:
            return None
        sha256, problem = known
        path = None if problem else self.store.path(item)
        return Fetched(item, path, sha256, problem) if path is None or path.is_file() else None

    def outcome(self, job: _Job) -> Fetched:
        """Fetch one. Runs in a thread."""
        if job.settled:
            return job.settled
        try:
            path, sha256 = self._remote(job.item) if self.is_remote(job.item) else self._local(job.item)
        except ProblemError as error:
            return Fetched(job.item, problem=str(error))
        return Fetched(job.item, path, sha256)

    def _remote(self, item: Item) -> tuple[Path, str]:
        path = self.store.path(item)
        if path.is_file():
            return path, sha256_of(path)
        partial = self.store.partial(item)
        sha256 = bring(self._source(item.uri), partial, self.settings, self.stop)
        return self.store.finish(item, partial), sha256

    def _source(self, uri: str) -> Source:
        try:
            scheme = urlsplit(uri).scheme
        except ValueError as error:
            raise ProblemError("bad_address", str(error)) from error
        if scheme not in self.settings.schemes or scheme == "file":
            raise ProblemError("refused_scheme", scheme)
        if scheme == "s3":
            return BucketSource(uri, self._s3())
        return WebVideo(uri, self.client, self.settings.schemes)

    def _s3(self) -> Any:
        with self._lock:  # boto3 may be used by many threads, but makes clients in one only
            if self._bucket_client is None:
                self._bucket_client = storage.client()
            return self._bucket_client

    def _local(self, item: Item) -> tuple[Path, str]:
        path = Path(item.uri).absolute()
        if "file" not in self.settings.schemes:
            raise ProblemError("refused_scheme", "file")
        try:
            if self.root is None or not path.resolve().is_relative_to(self.root.resolve()):
                raise ProblemError("refused_path", "outside the source's folder")
            if (size := path.stat().st_size) > self.settings.max_mb * 1e6:
                raise ProblemError("too_large", f"{size / 1e6:.1f} MB")
            return path, sha256_of(path)
        except (OSError, ValueError) as error:
            raise ProblemError("missing", getattr(error, "strerror", "") or str(error)) from error
