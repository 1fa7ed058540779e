"""What a stage may say while it runs. The library depends on this protocol, never on MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class RunLog(Protocol):
    """Sink for the metrics, pictures and files of one stage."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, by training step or once."""

    def image(self, key: str, image: Any, step: int | None = None) -> None:
        """Record a picture: uint8 array [H, W, 3] or a PIL image."""

    def artifact(self, path: Path) -> None:
        """Record a file or folder."""

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Iterate with a progress bar."""


class SilentLog:
    """A log that keeps nothing: for tests and for use as a library."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None: ...

    def image(self, key: str, image: Any, step: int | None = None) -> None: ...

    def artifact(self, path: Path) -> None: ...

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        yield from items
