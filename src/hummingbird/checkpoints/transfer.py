"""Brings one file from a source into a partial file: resumed, hashed while it is written, and checked."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

from hummingbird.checkpoints.catalogue import File
from hummingbird.checkpoints.sources import FileSource, Source
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors
from hummingbird.runlog import RunLog
from hummingbird.streams.partial import Digest, Partial
from hummingbird.streams.stream import CHUNK, InterruptedTransferError

TRIES = 4  # in a row without a single new byte, before a transfer is given up
PAUSE_S = 1.0  # before the first new try; doubles each time


@dataclass(frozen=True)
class Wanted:
    """A file, and why its hash is believed: words for the error when it is another."""

    file: File
    because: str = "the table of checkpoints"


def transfer(source: Source, partial: Partial, wanted: Wanted, log: RunLog) -> Digest:
    """Complete ``partial`` from ``source``; returns its hashes. What has come before is used, if it is of one piece.

    Raises:
        UserError: the source has no such file or another one, the connection breaks again and again, or the disk
            cannot be written to. What has come is kept, unless it is wrong.
    """
    failures = 0
    while True:
        size = partial.size
        try:
            _try_once(source, partial, wanted, log)
            break
        except InterruptedTransferError as error:
            failures = 1 if partial.size > size else failures + 1
            if failures >= TRIES:
                raise _broken(source, partial, error) from error
            time.sleep(PAUSE_S * 2 ** (failures - 1))
    digest = partial.catch_up()
    _check(source, partial, wanted, digest)
    return digest


def take_link(source: FileSource, partial: Partial, wanted: Wanted) -> Digest:
    """As :func:`transfer`, by a second name for a local file in place of a copy.

    Raises:
        UserError: the file is missing or another one, or lies on another file system.
    """
    partial.discard()
    with explain_disk_errors(partial.path):
        partial.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.path, partial.path)
    except OSError as error:
        raise UserError(f"cannot link {source.path}: {error.strerror}", "leave out --link, to copy it") from error
    partial.linked = True
    digest = partial.catch_up()
    _check(source, partial, wanted, digest)
    return digest


def _try_once(source: Source, partial: Partial, wanted: Wanted, log: RunLog) -> None:
    """Get the rest of the file."""
    offset, version = partial.resumable(source.address, verifiable=bool(wanted.file.sha256))
    if offset and offset == partial.total:  # killed between the last byte and the check
        return
    with source.open(offset, version) as stream:
        if wanted.file.bytes and stream.total is not None and stream.total != wanted.file.bytes:
            partial.discard()
            raise UserError(
                f"{source.address} has {stream.total} bytes, expected {wanted.file.bytes} ({wanted.because})",
                "it is another version or damaged there: give another address with --source, or a file with --from",
            )
        partial.begin(source.address, stream.version, stream.start, stream.total, stream.sha256)
        left = None if stream.total is None else math.ceil((stream.total - stream.start) / CHUNK)
        with explain_disk_errors(partial.path), partial.appending() as file:
            for chunk in log.progress(stream.chunks, f"{wanted.file.path} (MiB)", left):
                view = memoryview(chunk)
                while view:  # an unbuffered write may take a part only
                    written = file.write(view)
                    partial.digest.update(view[:written])
                    view = view[written:]
    if stream.total is not None and partial.size < stream.total:
        raise InterruptedTransferError(f"it ended after {partial.size} of {stream.total} bytes")


def _check(source: Source, partial: Partial, wanted: Wanted, digest: Digest) -> None:
    """Compare with what is known; a file that is wrong is thrown away, for no resuming mends it."""
    expected, because = wanted.file.sha256, wanted.because
    if expected is None:
        expected, because = partial.stated, "what the source itself states"
    size = wanted.file.bytes
    if size and digest.bytes != size:
        problem = f"{digest.bytes} bytes, expected {size} ({wanted.because})"
    elif expected and digest.sha256 != expected:
        problem = f"sha256 {digest.sha256}, expected {expected} ({because})"
    elif digest.bytes == 0:
        problem = "it is empty"
    else:
        return
    partial.discard()
    raise UserError(
        f"{source.address} is not the file it should be: {problem}",
        "it was thrown away, nothing else has changed; run again, or give another address with --source",
    )


def _broken(source: Source, partial: Partial, error: InterruptedTransferError) -> UserError:
    kept = f"; the {partial.size} bytes that have come are kept" if partial.size else ""
    return UserError(
        f"the transfer of {source.address} broke {TRIES} times: {error}{kept}",
        "check the network, then run the same again: it goes on from there",
    )
