"""What commands show while they work."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hummingbird.runlog import SilentLog, T

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 160  # columns where there is no terminal: a hash and what it is of belong in one line


def wide_console() -> Console:
    """A console for tables and trees that are also read by `grep`."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    return console


class TerminalLog(SilentLog):
    """Progress bars and nothing else: for what runs outside the pipeline, with no run to record it in."""

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        from tqdm import tqdm

        yield from tqdm(items, desc=description, total=total, mininterval=0.2 if sys.stderr.isatty() else 15.0)
