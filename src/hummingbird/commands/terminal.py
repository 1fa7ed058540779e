"""What commands show while they work."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from hummingbird.runlog import SilentLog, T


class TerminalLog(SilentLog):
    """Progress bars and nothing else: for what runs outside the pipeline, with no run to record it in."""

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        from tqdm import tqdm

        yield from tqdm(items, desc=description, total=total, mininterval=0.2 if sys.stderr.isatty() else 15.0)
