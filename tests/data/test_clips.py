from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hummingbird.data.clips import SCHEMA, apply_filter, clip_table, read_table, reason_counts, write_table
from hummingbird.errors import UserError


def row(number: int, kept: bool = True, reason: str = "") -> dict[str, Any]:
    values = dict.fromkeys(SCHEMA)
    return values | {"clip_id": f"c{number}", "shard": "0.tar", "key": str(number), "kept": kept, "reason": reason}


def table() -> pl.DataFrame:
    return clip_table([row(0), row(1, False, "missing: no such file"), row(2), row(3)])


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "deep/clips.parquet"
    write_table(table(), path)
    assert read_table(path).equals(table())
    assert [p.name for p in path.parent.iterdir()] == ["clips.parquet"]


def test_a_filter_drops_with_a_reason_and_touches_nothing_else() -> None:
    after = apply_filter(table(), {"sharp": [0.9, None, 0.1, 0.8]}, [True, True, False, True], "blur")
    assert after["clip_id"].to_list() == ["c0", "c1", "c2", "c3"]
    assert after["kept"].to_list() == [True, False, False, True]
    assert after["reason"].to_list() == ["", "missing: no such file", "blur", ""]
    assert after["sharp"].to_list() == [0.9, None, 0.1, 0.8]


def test_reasons_of_earlier_filters_stay() -> None:
    once = apply_filter(table(), {}, [False, True, True, True], "dark")
    twice = apply_filter(once, {}, [False] * 4, ["a", "b", "c", "d"])
    assert twice["reason"].to_list() == ["dark", "missing: no such file", "c", "d"]
    assert not twice["kept"].any()


def test_a_filter_cannot_drop_silently_or_lose_count() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        apply_filter(table(), {}, [False] * 4, "")
    with pytest.raises(ValueError, match="'kept' has 2 values for 4 clips"):
        apply_filter(table(), {}, [True, True], "x")
    with pytest.raises(ValueError, match="has columns"):
        apply_filter(table(), {"fps": [1.0] * 4}, [True] * 4, "x")


def test_reasons_are_counted_by_their_code() -> None:
    rows = [row(0), row(1, False, "blur"), row(2, False, "short: 1 frames"), row(3, False, "short: 2 frames")]
    assert reason_counts(clip_table(rows)) == {"short": 2, "blur": 1}


def test_bad_tables_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no clip table"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "torn.parquet")
    table().drop("fps", "kept").write_parquet(tmp_path / "old.parquet")
    with pytest.raises(UserError, match="lacks columns: fps, kept"):
        read_table(tmp_path / "old.parquet")


def test_a_full_disk_leaves_the_old_table_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clips.parquet"
    write_table(table(), path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(UserError, match="No space left on device\n  next: free some disk space"):
        write_table(table().head(1), path)
    assert read_table(path).equals(table())
