"""Where bytes come from: a web server, an S3 bucket, a local file. Each can go on from an offset.

A source never mixes two versions of a file: it is asked to go on from ``offset`` of ``version``, and a stream that
starts at 0 says that it could not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx

from hummingbird.errors import UserError

CHUNK = 1 << 20
BY_HAND = "or get the file by hand and give it with --from"
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class InterruptedTransferError(Exception):
    """The transfer broke for a reason that may pass: what has come is good, and trying again may bring the rest."""


class UnavailableError(UserError):
    """A source that has no such file, does not give it, or does not answer: another one may."""


@dataclass(frozen=True)
class Stream:
    """The bytes of a file from ``start`` on. ``version`` names this content of it, or is empty."""

    start: int
    total: int | None
    version: str
    chunks: Iterator[bytes]
    sha256: str | None = None  # of the whole file, if the source states it


class Source(Protocol):
    """One file at one place."""

    @property
    def address(self) -> str:
        """How the place is written for users; holds no secret."""

    @property
    def url(self) -> str | None:
        """Address that DVC understands; None for a place that other machines do not have."""

    def open(self, offset: int, version: str) -> AbstractContextManager[Stream]:
        """The bytes from ``offset`` on, if the file still is ``version``; else from 0 on.

        Raises:
            UnavailableError: the file is not there, or may not be read.
            InterruptedTransferError: the transfer broke; also while the stream is read.
        """


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
        headers = {"Accept-Encoding": "identity", **self.headers}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if version:
                headers["If-Range"] = version
        timeout = httpx.Timeout(60, connect=10)
        with _explained(self.address), httpx.Client(follow_redirects=True, timeout=timeout) as client:
            with client.stream("GET", self.location, headers=headers) as response:
                if not _must_restart(response, offset, version):
                    yield self._stream(response)
                    return
            headers = {name: value for name, value in headers.items() if name not in ("Range", "If-Range")}
            with client.stream("GET", self.location, headers=headers) as response:
                yield self._stream(response)

    def _stream(self, response: httpx.Response) -> Stream:
        code, kind = response.status_code, response.headers.get("Content-Type", "")
        if code in _TRANSIENT:
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
        start, total = _extent(response)
        return Stream(start, total, _version(response), response.iter_raw(CHUNK), self.sha256)


def _must_restart(response: httpx.Response, offset: int, version: str) -> bool:
    """Whether the server's answer to a range request is of no use: past the end, other bytes, or another version."""
    if response.status_code == 416:
        return True
    if response.status_code != 206:
        return False
    found = _version(response)
    return _extent(response)[0] != offset or bool(version and found and found != version)


def _extent(response: httpx.Response) -> tuple[int, int | None]:
    """First byte of the answer, and size of the whole file."""
    if response.status_code == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            return -1, None
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _version(response: httpx.Response) -> str:
    """What If-Range accepts: a strong entity tag, else the date of the last change."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


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
