"""What a place with a file must be able to do, and what an answer to an HTTP range request says.

A source never mixes two versions of a file: it is asked to go on from ``offset`` of ``version``, and a stream that
starts at 0 says that it could not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import httpx

from hummingbird.errors import UserError

CHUNK = 1 << 20
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # answers that may be another one soon
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")  # more digits no file has


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

    def open(self, offset: int, version: str) -> AbstractContextManager[Stream]:
        """The bytes from ``offset`` on, if the file still is ``version``; else from 0 on.

        Raises:
            UnavailableError: the file is not there, or may not be read.
            InterruptedTransferError: the transfer broke; also while the stream is read.
        """


def range_headers(offset: int, version: str) -> dict[str, str]:
    """Headers that ask for the plain bytes from ``offset`` on, if the file still is ``version``."""
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version:
            headers["If-Range"] = version
    return headers


def must_restart(response: httpx.Response, offset: int, version: str) -> bool:
    """Whether the server's answer to a range request is of no use: past the end, other bytes, or another version."""
    if offset and response.status_code == 416:
        return True
    if not offset or response.status_code != 206:
        return False
    found = version_of(response)
    return is_misplaced(response, offset) or bool(version and found and found != version)


def extent(response: httpx.Response) -> tuple[int, int | None]:
    """First byte of the answer, and size of the whole file."""
    if response.status_code == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            return -1, None
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def is_misplaced(response: httpx.Response, offset: int) -> bool:
    """Whether the bytes of the answer begin elsewhere than at ``offset``, or say so when no range was asked for."""
    return response.status_code == 206 and (not offset or extent(response)[0] != offset)


def version_of(response: httpx.Response) -> str:
    """What If-Range accepts: a strong entity tag, else the date of the last change."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
