"""What an error of MLflow's client, or of the store of its artifacts, says about the server: is it away, does it refuse
for good, does it not answer at all?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LATER = {401, 403, 404, 408, 425, 429}  # the server or its settings; the same request may be taken another time
HERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)  # of a disk, not of a connection


def http_status(error: BaseException) -> int | None:
    """Status of the answer that an error is about; None if it is about none, as far as one can see.

    requests keeps the answer in its errors, botocore a mapping of it, and MLflow a name for its status, which is
    that of 500 also where there was no answer at all.
    """
    answer = _answer(error)
    if isinstance(answer, dict):
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])
    if answer is not None:
        return int(answer.status_code)
    if is_silent(error):
        return None
    by_name = (getattr(it, "get_http_status_code", None) for it in _chain(error))
    return next((int(status()) for status in by_name if status), None)


def is_silent(error: BaseException) -> bool:
    """Whether nothing answered: no connection, none in time, or no credentials to ask with."""
    from botocore.exceptions import BotoCoreError

    return _answer(error) is None and any(
        isinstance(it, OSError | BotoCoreError) and not isinstance(it, HERE) for it in _chain(error)
    )


def is_away(error: BaseException) -> bool:
    """Whether a server does not do its work now, whatever it is asked for."""
    status = http_status(error)
    return is_silent(error) if status is None else status >= 500 or status in LATER


def is_refusal(error: BaseException) -> bool:
    """Whether a server will give the same answer for ever."""
    status = http_status(error)
    return status is not None and 400 <= status < 500 and status not in LATER


def _answer(error: BaseException) -> Any:
    """That of requests or botocore: one without an answer has None in its place."""
    answers = (getattr(it, "response", None) for it in _chain(error))
    return next((answer for answer in answers if answer is not None), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__
