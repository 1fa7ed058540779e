"""What a stage may say while it runs. The library depends on this protocol, never on MLflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Verdicts(Counter[str]):
    """How many clips were kept, and how many dropped for each reason. As text: ``90 kept, 8 http_404, 2 too_short``."""

    KEPT = "kept"

    def add(self, reason: str, clips: int = 1) -> None:
        """Count clips that were kept (``""``) or dropped for a reason (``code`` or ``code: detail``)."""
        self[reason.partition(":")[0] or self.KEPT] += clips

    def __str__(self) -> str:
        order = sorted(self, key=lambda code: (code != self.KEPT, -self[code], code))
        return ", ".join(f"{self[code]:,} {code}" for code in order)


class RunLog(Protocol):
    """Sink for the metrics, pictures and files of one stage."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, by training step or once."""

    def image(self, key: str, image: Any, step: int | None = None) -> None:
        """Record a picture: uint8 array [H, W, 3] or a PIL image."""

    def video(self, name: str, frames: Any, fps: float) -> None:
        """Record a video under a name, in which ``/`` makes folders: uint8 array [T, H, W, 3]."""

    def artifact(self, path: Path) -> None:
        """Record a file or folder."""

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Iterate with a progress bar."""

    def verdict(self, reason: str, clips: int = 1) -> None:
        """Count clips, as :meth:`Verdicts.add`, while the progress bar grows: for whoever is watching."""


def count_verdicts(log: RunLog, reasons: Iterable[str], description: str, total: int | None = None) -> None:
    """A progress bar over clips that counts each as kept (``""``) or dropped for its reason."""
    for reason in log.progress(reasons, description, total):
        log.verdict(reason)


class SilentLog:
    """A log that keeps nothing: for tests and for use as a library."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...

    def image(self, key: str, image: Any, step: int | None = None) -> None: ...

    def video(self, name: str, frames: Any, fps: float) -> None: ...

    def artifact(self, path: Path) -> None: ...

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        yield from items

    def verdict(self, reason: str, clips: int = 1) -> None: ...
