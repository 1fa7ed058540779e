"""Why a video was not fetched, as ``code: detail``; docs/curation.md lists the codes."""

from __future__ import annotations

from hummingbird.streams.stream import InterruptedTransferError


def _text(code: str, detail: str) -> str:
    return f"{code}: {' '.join(detail.split())[:300]}" if detail else code


class ProblemError(Exception):
    """No further try would bring the video."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(_text(code, detail))


class PassingError(InterruptedTransferError):
    """Another try may bring it. ``after_s``: no earlier than so many seconds from now."""

    def __init__(self, code: str, detail: str = "", after_s: float = 0.0) -> None:
        super().__init__(_text(code, detail))
        self.after_s = after_s


class StoppedError(Exception):
    """The whole run is being stopped; this says nothing about the video."""
