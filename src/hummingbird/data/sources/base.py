"""What a source of clips is: a numbered list of items that are to be fetched, or of clips that are generated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hummingbird.data.video_io import VideoInfo


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a source: a video that is to be fetched."""

    clip_id: str  # unique in the source, made by `ids.Ids`: [A-Za-z0-9._-], at most 100 characters
    uri: str  # https://..., s3://..., a path below the source's root; "" if the row has none
    caption: str  # as it came: hostile text
    source: str  # short name
    problem: str = ""  # `code: detail`: why it cannot even be tried
    source_id: str = ""  # its name as the source writes it


class Source(Protocol):
    """A numbered list of items. It says where videos are and never fetches one."""

    @property
    def root(self) -> Path | None:
        """Local videos lie below this folder, and no others are read; None = none is local."""

    def __len__(self) -> int: ...

    def items(self, first: int, last: int) -> Iterator[Item]:
        """Items ``first`` (included) to ``last`` (excluded), in order and lazily: there may be ten million."""

    def fingerprint(self) -> str:
        """Changes whenever the same number could be another item, or a local video could be another one."""


@runtime_checkable
class StampedSource(Protocol):
    """What a :class:`Source` may have besides, where the contents of its items are dear: they are then read once, to be
    fetched, and not to find out whether they have changed or where they are."""

    def stamp(self, number: int) -> str:
        """Of item ``number``: changes whenever the item or its video does."""

    def places(self, first: int, last: int) -> Iterator[Item]:
        """As :meth:`Source.items`, without captions."""


@dataclass(frozen=True, slots=True)
class RawClip:
    """A clip as it came in. ``problem`` says why it cannot be used (``code: detail``), else it is empty."""

    clip_id: str
    caption: str
    source: str
    video: bytes = b""
    info: VideoInfo | None = None
    problem: str = ""
    truth: dict[str, Any] | None = None
    source_id: str = ""  # as in `Item`
    start_s: float = 0.0  # this one and the next two as in `preparation.Prepared`
    transcoded: str = ""
    phash: str | None = None  # 16 hexadecimal digits; None for a generated clip


@runtime_checkable
class ClipSource(Protocol):
    """A numbered list of generated clips; picklable, so that worker processes can draw from it."""

    def __len__(self) -> int: ...

    def clip(self, index: int) -> RawClip: ...

    def fingerprint(self) -> str:
        """Changes whenever the same index and parameters could give another clip."""


def draw(numbers: Sequence[int], source: ClipSource) -> list[RawClip]:
    """Some clips of a generated source."""
    return [source.clip(number) for number in numbers]
