"""Brings one video into a partial file: tried again, resumed, hashed while it is written, and held to its bounds."""

from __future__ import annotations

import threading
import time

from botocore.exceptions import ClientError

from hummingbird.data.fetching.network import time_limit
from hummingbird.data.fetching.problems import PassingError, ProblemError, StoppedError
from hummingbird.files import explain_disk_errors
from hummingbird.params import Fetch
from hummingbird.streams.partial import Partial
from hummingbird.streams.stream import InterruptedTransferError, Source, UnavailableError


def bring(source: Source, partial: Partial, settings: Fetch, stop: threading.Event) -> str:
    """Complete ``partial`` from ``source``; returns its sha256. What a killed run left of it is used.

    Raises:
        ProblemError: it cannot be had, or is over a bound; what has come is thrown away.
        StoppedError: ``stop`` was set; what has come is kept.
        UserError: the disk cannot be written to.
    """
    furthest, failures = partial.size, 0
    with time_limit(settings.max_time_s) as end:
        while True:
            try:
                _try_once(source, partial, settings, stop, end)
                return partial.catch_up().sha256
            except UnavailableError as error:
                partial.discard()
                raise _unavailable(error) from error
            except ProblemError:
                partial.discard()
                raise
            except InterruptedTransferError as error:
                failures = 1 if partial.size > furthest else failures + 1
                furthest = max(furthest, partial.size)
                pause = max(settings.pause_s * 2 ** (failures - 1), getattr(error, "after_s", 0.0))
                hopeless = failures >= settings.tries or pause > settings.max_pause_s
                if hopeless or time.monotonic() + pause >= end:
                    problem = _given_up(partial, error)
                    partial.discard()
                    raise problem from error
                if stop.wait(pause):
                    raise StoppedError from error


def _try_once(source: Source, partial: Partial, settings: Fetch, stop: threading.Event, end: float) -> None:
    """Get the rest of the file."""
    most = round(settings.max_mb * 1e6)
    offset, version = partial.resumable(source.address, verifiable=False)
    if offset and offset == partial.total:  # killed between the last byte and the end
        return
    with source.open(offset, version) as stream:
        if stream.total is not None and stream.total > most:
            raise ProblemError("too_large", f"{stream.total / 1e6:.1f} MB")
        if stream.start not in (0, offset):
            raise ProblemError("broken", "an answer to another range")
        if stream.start > most:  # a killed run had a higher bound
            raise ProblemError("too_large", f"more than {settings.max_mb:g} MB")
        partial.begin(source.address, stream.version, stream.start, stream.total)
        with explain_disk_errors(partial.path), partial.appending() as file:
            for chunk in stream.chunks:
                if stop.is_set():
                    raise StoppedError
                if time.monotonic() > end:
                    raise PassingError("timeout", f"longer than {settings.max_time_s:g} s")
                if partial.digest.bytes + len(chunk) > most:
                    raise ProblemError("too_large", f"more than {settings.max_mb:g} MB")
                view = memoryview(chunk)
                while view:  # an unbuffered write may take a part only
                    written = file.write(view)
                    partial.digest.update(view[:written])
                    view = view[written:]
    if stream.total is not None and partial.size < stream.total:
        raise PassingError("broken", "the connection ended early")


def _given_up(partial: Partial, error: InterruptedTransferError) -> ProblemError:
    """The last failure; where the connection broke in the middle, how far it came."""
    text = str(error)
    total = partial.total
    if isinstance(error, PassingError) and not text.startswith("broken"):
        code, _, detail = text.partition(": ")
        return ProblemError(code, detail)
    if total is not None and partial.size < total:
        return ProblemError("truncated", f"{partial.size} of {total} bytes")
    return ProblemError("broken", text.removeprefix("broken: "))


def _unavailable(error: UnavailableError) -> ProblemError:
    """What S3 said."""
    cause = error.__cause__.__cause__ if error.__cause__ else None
    code = cause.response.get("Error", {}).get("Code") if isinstance(cause, ClientError) else None
    return ProblemError("missing" if code in ("404", "NoSuchKey") else "unavailable", error.problem)
