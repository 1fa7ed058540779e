"""Where checkpoints come from, besides S3: a web server, a local file. Each can go on from an offset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx

from hummingbird.streams import stream as streams
from hummingbird.streams.stream import (
    CHUNK,
    TRANSIENT,
    InterruptedTransferError,
    Stream,
    UnavailableError,
    extent,
    is_misplaced,
    must_restart,
    range_headers,
    version_of,
)

BY_HAND = "or get the file by hand and give it with --from"


class Source(streams.Source, Protocol):
    """One file at one place."""

    @property
    def url(self) -> str | None:
        """Address that DVC understands; None for a place that other machines do not have."""


@dataclass(frozen=True)
class HttpSource:
    """A file on a web server. ``name`` is its address for users, if not the URL; ``sha256`` is known beforehand."""

    location: str
    headers: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    sha256: str | None = None
    refused: str = "check your access"  # what to do when the server says 401 or 403

    @property
    def url(self) -> str:
        """The URL without user, password and query, which may hold secrets."""
        parts = urlsplit(self.location)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    @property
    def address(self) -> str:
        return self.name or self.url

    @contextmanager
    def open(self, offset: int, version: str) -> Iterator[Stream]:
        headers = {**range_headers(offset, version), **self.headers}
        timeout = httpx.Timeout(60, connect=10)
        with _explained(self.address), httpx.Client(follow_redirects=True, timeout=timeout) as client:
            with client.stream("GET", self.location, headers=headers) as response:
                if not must_restart(response, offset, version):
                    yield self._stream(response, offset)
                    return
            headers = {**range_headers(0, ""), **self.headers}
            with client.stream("GET", self.location, headers=headers) as response:
                yield self._stream(response, 0)

    def _stream(self, response: httpx.Response, offset: int) -> Stream:
        code, kind = response.status_code, response.headers.get("Content-Type", "")
        if code in TRANSIENT:
            raise InterruptedTransferError(f"the server answers {code} {response.reason_phrase}")
        if code in (401, 403):
            raise UnavailableError(f"{self.address} may not be fetched ({code})", f"{self.refused}, {BY_HAND}")
        if code not in (200, 206):
            raise UnavailableError(
                f"{self.address} is not there: the server answers {code} {response.reason_phrase}",
                f"give another address with --source, {BY_HAND}",
            )
        if kind.startswith("text/html"):
            raise UnavailableError(
                f"{self.address} is a web page, not a file: it may ask for a log-in or a confirmation",
                f"{self.refused}, {BY_HAND}",
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UnavailableError(
                f"{self.address} comes compressed, against the request", f"use another address, {BY_HAND}"
            )
        if is_misplaced(response, offset):
            raise UnavailableError(
                f"{self.address} is not sent from its beginning: the server answers to another range",
                f"use another address, {BY_HAND}",
            )
        start, total = extent(response)
        return Stream(start, total, version_of(response), response.iter_raw(CHUNK), self.sha256)


@contextmanager
def _explained(address: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise UnavailableError(
            f"no server answers for {address}: {error}", f"check the network and the address, {BY_HAND}"
        ) from error
    except (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError) as error:
        raise InterruptedTransferError(str(error) or type(error).__name__) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"{address} cannot be fetched: {error}", f"check the address, {BY_HAND}") from error


@dataclass(frozen=True)
class FileSource:
    """A file on this machine."""

    path: Path

    url = None

    @property
    def address(self) -> str:
        return str(self.path)

    @contextmanager
    def open(self, offset: int, version: str) -> Iterator[Stream]:
        try:
            status = self.path.stat()
            found = f"{status.st_size}-{status.st_mtime_ns}"
            start = offset if found == version and offset <= status.st_size else 0
            file = self.path.open("rb")
        except OSError as error:
            raise UnavailableError(
                f"cannot read {self.path}: {error.strerror}", "check the folder given with --from"
            ) from error
        with file:
            file.seek(start)
            yield Stream(start, status.st_size, found, iter(lambda: file.read(CHUNK), b""))
