"""A few rows of a source, spread over it, as a source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hummingbird.data.sources.base import ClipSource, Item, RawClip, Source


def sample(source: Source | ClipSource, count: int) -> Source | ClipSource:
    """At most ``count`` rows of ``source``, evenly spread and in its order."""
    numbers = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int)).tolist()
    return _Clips(source, numbers) if isinstance(source, ClipSource) else _Items(source, numbers)


@dataclass(frozen=True)
class _Items:
    source: Source
    numbers: Sequence[int]

    @property
    def root(self) -> Path | None:
        return self.source.root

    def __len__(self) -> int:
        return len(self.numbers)

    def items(self, first: int, last: int) -> Iterator[Item]:
        return itertools.chain.from_iterable(self.source.items(i, i + 1) for i in self.numbers[first:last])

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()} {self.numbers}"


@dataclass(frozen=True)
class _Clips:
    source: ClipSource
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def clip(self, index: int) -> RawClip:
        return self.source.clip(self.numbers[index])

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()} {self.numbers}"
