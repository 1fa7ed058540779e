"""Why a stage failed, told from how its process ended and what it said, and whether another try can help.

Another try helps where the stage is not at fault: DVC was busy, a server or the store did not answer, something killed
the process. It does not where the user has to put something right (exit code 2), and that includes a failed gate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

USER_ERROR = 2  # exit code of `hummingbird` for what only the user can put right
BUSY = ("is busy", "Unable to acquire lock")  # DVC's words for: another DVC process is at work
TAIL = 40  # lines in which the reason is looked for

_STATUS = re.compile(r"exited with (-?\d+)")
_RAISED = re.compile(r"^([a-z_]\w*\.)*[A-Z]\w*(Error|Exception|Timeout|Refused|Closed)\b")  # last line of a traceback
_LOST = re.compile(
    r"^\S*(Connect|Timeout|TimedOut|RemoteProtocol|IncompleteRead)|Connection (refused|reset|aborted)|timed out"
    r"|Temporary failure in name resolution|\((5\d\d|SlowDown|InternalError|RequestTimeout)\) when calling"
    r"|\bHTTP(/1.1)? 50[0234]\b|Service Unavailable"
)


class StageError(Exception):
    """A stage did not finish; its own message is in the log. Another try would end the same."""


class BusyError(StageError):
    """Another DVC process held what the stage needs; it will be done soon."""


class LostError(StageError):
    """A server, or the store, did not answer the stage."""


class KilledError(StageError):
    """Something killed the stage. Worth one more try: what is killed twice will be killed again."""


class OverdueError(StageError):
    """The stage took longer than it was given."""


def failure(stage: str, code: int, tail: Sequence[str]) -> StageError:
    """The error that says best why ``stage`` failed.

    Args:
        code: exit status of ``dvc repro`` under its guard: 128 + N if signal N ended it.
        tail: the last lines of what it and the stage printed.
    """
    how_on = f"what it said is above. To go on from there: dvc repro {stage}"
    status = _status(tail)
    if status is None and _is_busy(tail):
        return BusyError(f"stage {stage}: another DVC process is at work")
    if status == USER_ERROR:
        return StageError(f"stage {stage} failed: {_problem(tail)}; {how_on}")
    if _is_signal(status) or _is_signal(code):
        return KilledError(f"stage {stage} was killed; {how_on}")
    raised = _raised(tail)
    if _LOST.search(raised):
        return LostError(f"stage {stage} lost a connection: {raised}; {how_on}")
    return StageError(f"stage {stage} failed{f': {raised}' if raised else ''}; {how_on}")


def _is_busy(tail: Sequence[str]) -> bool:
    """Whether DVC itself says so: a stage may print the same words, of something else."""
    return any(sign in line for line in tail if line.startswith("ERROR: ") for sign in BUSY)


def _status(tail: Sequence[str]) -> int | None:
    """The status of the stage itself, as DVC tells it."""
    found = [int(match[1]) for line in tail if (match := _STATUS.search(line))]
    return found[-1] if found else None


def _raised(tail: Sequence[str]) -> str:
    """The error that ended the stage: the last line of its last traceback, or what DVC says; empty if there is none."""
    own = [line for line in tail if _RAISED.match(line)]
    dvc = [line.removeprefix("ERROR: ") for line in tail if line.startswith("ERROR: ") and not _STATUS.search(line)]
    return next(iter([*own[-1:], *dvc[-1:]]), "")[:300]


def _is_signal(status: int | None) -> bool:
    """Whether a status, in Python's way or a shell's, stands for a signal. (DVC's own 255 does not.)"""
    return status is not None and (status < 0 or 128 < status <= 128 + 64)


def _problem(tail: Sequence[str]) -> str:
    """What `hummingbird` gave as the problem; empty if it did not."""
    said = [line.removeprefix("error: ") for line in tail if line.startswith("error: ")]
    return said[-1] if said else "see its log"
