"""Clips that are there more than once: byte for byte, or so alike that their perceptual hashes nearly agree.

Near duplicates among N hashes are found without comparing all pairs, as by G. S. Manku, A. Jain and A. Das Sarma,
"Detecting Near-Duplicates for Web Crawling", WWW 2007: hashes that differ in at most d of 64 bits, cut into d + 2
bands, agree in at least two bands. So it is enough to sort once for each pair of bands and to compare what agrees
there: N / 2^26 strangers to a hash and pair of bands for d = 3. Memory is a few arrays of N numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ranks = NDArray[np.int64]

_BITS = 64
_PAIRS_AT_ONCE = 1 << 20


def _masks(distance: int) -> Iterator[np.uint64]:
    """Masks of two bands each; of two hashes within ``distance``, at least one mask leaves the same."""
    edges = np.linspace(0, _BITS, distance + 3).round().astype(int)
    bands = [((1 << int(stop)) - 1) ^ ((1 << int(start)) - 1) for start, stop in itertools.pairwise(edges)]
    for one, other in itertools.combinations(bands, 2):
        yield np.uint64(one | other)


def _within_groups(keys: Hashes) -> Iterator[tuple[Ranks, Ranks]]:
    """Positions (i, j), i < j, of all pairs with equal keys, in pieces of bounded size."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    _, starts, sizes = np.unique(ordered, return_index=True, return_counts=True)
    ends = np.repeat(starts + sizes, sizes)  # where the group of each position ends
    partners = ends - np.arange(len(keys)) - 1  # later members of its group
    for first, last in _chunks(partners):
        counts = partners[first:last]
        left = np.repeat(np.arange(first, last), counts)
        offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield order[left], order[left + 1 + offset]


def _chunks(counts: Ranks) -> Iterator[tuple[int, int]]:
    """Ranges of ``counts``, each with a sum of about :data:`_PAIRS_AT_ONCE` at most; those without any are left out."""
    totals = np.cumsum(counts)
    first = 0
    while first < len(counts) and (done := totals[first] - counts[first]) < totals[-1]:
        last = max(first + 1, int(np.searchsorted(totals, done + _PAIRS_AT_ONCE, side="right")))
        if totals[last - 1] > done:
            yield first, last
        first = last


def _neighbours(hashes: Hashes, distance: int) -> Iterator[tuple[Ranks, Ranks]]:
    """Positions (i, j), i < j, of all pairs within ``distance`` bits of each other; a pair may come more than once."""
    for mask in _masks(distance):
        for left, right in _within_groups(hashes & mask):
            near = np.bitwise_count(hashes[left] ^ hashes[right]) <= distance
            yield left[near], right[near]


def near_originals(hashes: Hashes, distance: int) -> Ranks:
    """For each hash, the position of the one it is a near duplicate of; -1 for an original.

    Hashes are taken in their order: the first is an original, and so is each that is more than ``distance`` bits from
    all originals before it. Every other one belongs to the first original within that distance.
    """
    values, firsts, places = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(firsts)  # different hashes, by first appearance
    values, firsts = values[order], firsts[order]
    found = _first_originals(values, distance)
    owner = firsts[np.where(found < 0, np.arange(len(values)), found)]
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    owners = owner[rank[places]]
    return np.where(owners == np.arange(len(hashes)), -1, owners)


def _first_originals(values: Hashes, distance: int) -> Ranks:
    """As :func:`near_originals`, of hashes that are all different.

    Whether one is an original depends on the originals before it: all that can be told is told, and again, until
    nothing is open. Only hashes that have a neighbour at all take part after the first round.
    """
    found = np.full(len(values), -1, np.int64)
    involved = np.zeros(len(values), bool)
    for left, right in _neighbours(values, distance):
        involved[left] = involved[right] = True
    active = np.flatnonzero(involved)
    hashes = values[active]
    original = np.zeros(len(active), bool)
    copy = np.zeros(len(active), bool)
    while not (original | copy).all():
        blocked = np.zeros(len(active), bool)  # an earlier neighbour is open
        for left, right in _neighbours(hashes, distance):
            copy[right[original[left]]] = True
            blocked[right[~copy[left] & ~original[left]]] = True
        original |= ~copy & ~blocked
    owner = np.full(len(active), len(values), np.int64)
    for left, right in _neighbours(hashes, distance):
        belongs = original[left] & copy[right]
        np.minimum.at(owner, right[belongs], left[belongs])
    found[active[copy]] = active[owner[copy]]
    return found


def mark_duplicates(table: pl.DataFrame, near_bits: int | None, *, drop: bool = True) -> pl.DataFrame:
    """A clip table with ``duplicate_of`` filled in; with ``drop``, duplicates are kept no longer, for the reason
    ``duplicate`` or ``near_duplicate``.

    The earlier clip in the source (by ``key``) is the original, whatever the order of the rows; so clips that are added
    never turn an older one into a duplicate. Clips without a hash, and those dropped before, are left as they are.

    Args:
        table: with ``key``, ``sha256``, ``phash`` (16 hexadecimal digits), ``kept``, ``reason`` and ``duplicate_of``.
        near_bits: how many of 64 bits may differ between near duplicates; None marks exact ones only.
    """
    clips = table.with_row_index("row").filter(pl.col("kept") & pl.col("phash").is_not_null()).sort("key")
    clips = clips.with_columns(pl.col("clip_id").first().over("sha256").alias("same"))
    same = clips.filter(pl.col("same") != pl.col("clip_id")).select(
        "row", duplicate_of="same", code=pl.lit("duplicate")
    )
    found = [same]
    if near_bits is not None:
        rest = clips.filter((pl.col("same") == pl.col("clip_id")) & (pl.col("phash") != "0" * 16))
        hashes = np.fromiter((int(text, 16) for text in rest["phash"]), np.uint64, len(rest))
        owners = near_originals(hashes, near_bits)
        copies = np.flatnonzero(owners >= 0)
        near = {"row": rest["row"].gather(copies), "duplicate_of": rest["clip_id"].gather(owners[copies])}
        found.append(pl.DataFrame(near).with_columns(code=pl.lit("near_duplicate")))
    marks = pl.concat(found)
    why = pl.concat_str("code", pl.lit(": of "), "found")
    return (
        table.with_row_index("row")
        .join(marks.rename({"duplicate_of": "found"}), on="row", how="left", maintain_order="left")
        .with_columns(
            pl.coalesce("found", "duplicate_of").alias("duplicate_of"),
            (pl.col("kept") & (pl.col("found").is_null() | (not drop))).alias("kept"),
            pl.when(pl.col("found").is_null() | (not drop)).then("reason").otherwise(why).alias("reason"),
        )
        .drop("row", "found", "code")
    )
