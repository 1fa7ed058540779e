"""Which items of a source belong together in a shard, so that a growing source never touches a finished one.

A block is a range of items. Its shards depend on nothing but its items and the settings, so blocks are made in any
order and by anyone. Where a block was left unfilled at the end of the source, later items begin a new one: the cut
between the two is remembered in the first one's marker, which lies beside the shards and also tells that the block is
finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hummingbird.files import read_json, write_json

Digest = Callable[[int, int], str]


@dataclass(frozen=True, slots=True)
class Block:
    """Items ``first`` to ``stop`` - 1 of a source. ``digest`` changes when one of them does."""

    name: str  # of its shards, without the ending
    first: int
    stop: int
    digest: str


def plan_blocks(folder: Path, total: int, size: int, digest: Digest) -> list[Block]:
    """Blocks of at most ``size`` items for a source of ``total``, in order.

    Blocks that are finished in ``folder`` keep their ranges, from the first on and as long as they follow one another
    and have not changed.
    """
    blocks: list[Block] = []
    for block in sorted(_finished(folder), key=lambda block: block.first):
        follows = block.first == (blocks[-1].stop if blocks else 0) and block.stop <= total
        if follows and block.digest == digest(block.first, block.stop):
            blocks.append(block)
    for first in range(blocks[-1].stop if blocks else 0, total, size):
        stop = min(first + size, total)
        blocks.append(Block(f"{len(blocks):05d}", first, stop, digest(first, stop)))
    return blocks


def finish_block(folder: Path, block: Block, shards: Sequence[str]) -> None:
    """Mark a block as finished: ``shards`` in ``folder`` are all that it made, and they are whole.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    marks = {name: _mark(folder / name) for name in shards}
    values = {"first": block.first, "stop": block.stop, "digest": block.digest, "shards": marks}
    write_json(folder / f"{block.name}.done.json", values)


def finished_shards(folder: Path, block: Block) -> list[str] | None:
    """File names of the shards of a finished block; None if it is not, or has changed, or a shard was touched since."""
    values = read_json(folder / f"{block.name}.done.json")
    shards = values.get("shards", {})
    same = (values.get("first"), values.get("stop"), values.get("digest")) == (block.first, block.stop, block.digest)
    if not same or any(_mark(folder / name) != mark for name, mark in shards.items()):
        return None
    return list(shards)


def _mark(path: Path) -> list[int] | None:
    """Size and time of a file's content."""
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else None


def _finished(folder: Path) -> Iterator[Block]:
    for path in folder.glob("*.done.json"):
        values = read_json(path)
        yield Block(path.name.removesuffix(".done.json"), values["first"], values["stop"], values["digest"])
