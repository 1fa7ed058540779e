"""Sources whose videos have names that can be listed: what all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from hummingbird.data.sources.base import Item
from hummingbird.data.sources.ids import Ids, safe_id
from hummingbird.data.sources.places import Place


class Listing(ABC):
    """One item for each of ``names``, which are held in memory; all else is looked up when an item is asked for."""

    def __init__(self, source: str, names: Sequence[str], root: Path | None = None) -> None:
        """``source``: its short name; ``root``: as in :class:`~hummingbird.data.sources.base.Source`."""
        self.source, self.names, self._root = source, names, root
        self._ids = Ids(safe_id(self.id_of(name)) for name in names)

    @property
    def root(self) -> Path | None:
        return self._root

    def __len__(self) -> int:
        return len(self.names)

    def items(self, first: int, last: int) -> Iterator[Item]:
        return map(self._item, range(first, last))

    def _item(self, number: int) -> Item:
        name = self.names[number]
        uri, problem = self.place_of(name)
        return Item(
            clip_id=self.clip_id(number),
            uri=uri,
            caption=self.caption_of(name),
            source=self.source,
            problem=problem,
            source_id=self.id_of(name),
        )

    def clip_id(self, number: int) -> str:
        return self._ids.unique(number, safe_id(self.id_of(self.names[number])))

    def id_of(self, name: str) -> str:
        """What the clip is to be called; may be repeated or unsafe."""
        return name

    @abstractmethod
    def place_of(self, name: str) -> Place:
        """Where the video is."""

    @abstractmethod
    def caption_of(self, name: str) -> str:
        """The raw caption; empty if there is none."""

    @abstractmethod
    def fingerprint(self) -> str:
        """As in :class:`~hummingbird.data.sources.base.Source`."""
