from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest

from hummingbird.data.clips import SCHEMA, clip_table
from hummingbird.data.duplicates import Hashes, Ranks, mark_duplicates, near_originals


def flipped(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def one_by_one(hashes: Hashes, distance: int) -> list[int]:
    """The definition, in quadratic time."""
    originals: list[int] = []
    found = []
    for number, value in enumerate(hashes):
        near = [other for other in originals if np.bitwise_count(hashes[other] ^ value) <= distance]
        found.append(near[0] if near else -1)
        if not near:
            originals.append(number)
    return found


@pytest.mark.parametrize("distance", [0, 1, 3, 8])
def test_it_is_what_comparing_one_by_one_finds(distance: int) -> None:
    """Hashes in dense clusters, with chains of near ones and repeated values."""
    rng = np.random.default_rng(distance)
    centres = [int(value) for value in rng.integers(0, 2**64, 12, dtype=np.uint64)]
    values = [
        flipped(centres[pick], rng.choice(64, count, replace=False).tolist())
        for pick, count in zip(rng.integers(0, 12, 600), rng.integers(0, 7, 600), strict=True)
    ]
    hashes = np.array(values, dtype=np.uint64)
    assert near_originals(hashes, distance).tolist() == one_by_one(hashes, distance)


def test_planted_copies_among_100000_are_all_found_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    originals = rng.choice(50_000, 2000, replace=False)
    copies = 50_000 + rng.choice(50_000, 2000, replace=False)
    bits = rng.integers(0, 8, 2000)
    for original, copy, count in zip(originals, copies, bits, strict=True):
        hashes[copy] = np.uint64(flipped(int(hashes[original]), rng.choice(64, count, replace=False).tolist()))
    found = near_originals(hashes, 3)
    expected: Ranks = np.full(100_000, -1)
    expected[copies[bits <= 3]] = originals[bits <= 3]
    assert (bits <= 3).sum() > 800
    assert np.array_equal(found, expected)


def test_a_thousand_copies_of_one_clip_have_one_original() -> None:
    rng = np.random.default_rng(1)
    near = [flipped(0x0123456789ABCDEF, rng.choice(64, 1).tolist()) for _ in range(1000)]
    found = near_originals(np.array([0x0123456789ABCDEF, *near], dtype=np.uint64), 3)
    assert found.tolist() == [-1] + [0] * 1000


def test_nothing_has_no_duplicates() -> None:
    assert near_originals(np.array([], dtype=np.uint64), 3).tolist() == []


def table(*clips: tuple[str, int | None, bytes]) -> pl.DataFrame:
    """Rows (clip_id, hash, video); what begins with ``bad`` was dropped before."""
    rows = [
        dict.fromkeys(SCHEMA)
        | {"clip_id": name, "key": f"{number:08d}", "sha256": hashlib.sha256(video).hexdigest(), "duplicate_of": ""}
        | {"phash": None if phash is None else f"{phash:016x}"}
        | {"kept": not name.startswith("bad"), "reason": "corrupt: x" if name.startswith("bad") else ""}
        for number, (name, phash, video) in enumerate(clips)
    ]
    return clip_table(rows)


FAR = 0xFFFFFFFF00000000
CLIPS = table(
    ("bad", 7, b"one"),
    ("first", 7, b"one"),
    ("other", FAR, b"two"),
    ("same", 7, b"one"),
    ("near", 7 ^ 0b1011 << 20, b"three"),
    ("again", FAR, b"two"),
    ("black", 0, b"four"),
    ("dark", 0, b"five"),
    ("world", None, b"six"),
    ("world2", None, b"six"),
)
MARKS = {"same": "first", "near": "first", "again": "other"}


def test_later_clips_are_marked_and_dropped_with_a_reason() -> None:
    marked = mark_duplicates(CLIPS, 3)
    assert marked.columns == CLIPS.columns
    assert dict(marked.filter(pl.col("duplicate_of") != "").select("clip_id", "duplicate_of").iter_rows()) == MARKS
    assert dict(marked.filter(~pl.col("kept")).select("clip_id", "reason").iter_rows()) == {
        "bad": "corrupt: x",
        "same": "duplicate: of first",
        "near": "near_duplicate: of first",
        "again": "duplicate: of other",
    }


def test_duplicates_may_be_marked_only() -> None:
    marked = mark_duplicates(CLIPS, 3, drop=False)
    assert dict(marked.filter(pl.col("duplicate_of") != "").select("clip_id", "duplicate_of").iter_rows()) == MARKS
    assert marked.drop("duplicate_of").equals(CLIPS.drop("duplicate_of"))


def test_the_order_of_the_rows_decides_nothing() -> None:
    expected = mark_duplicates(CLIPS, 3)
    for seed in range(5):
        mixed = CLIPS.sample(fraction=1, shuffle=True, seed=seed)
        assert mark_duplicates(mixed, 3)["clip_id"].to_list() == mixed["clip_id"].to_list()
        assert mark_duplicates(mixed, 3).sort("key").equals(expected)


def test_near_duplicates_may_be_left_alone() -> None:
    marked = mark_duplicates(CLIPS, None)
    assert dict(marked.filter(pl.col("duplicate_of") != "").select("clip_id", "duplicate_of").iter_rows()) == {
        "same": "first",
        "again": "other",
    }


def test_new_clips_never_turn_an_older_one_into_a_duplicate() -> None:
    before = mark_duplicates(CLIPS[:4], 3)
    assert mark_duplicates(CLIPS, 3)[:4].equals(before)
