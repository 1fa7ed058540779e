from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from hummingbird.data.sources.csvfile import CsvFile, Row
from hummingbird.errors import UserError


def read(path: Path, text: str | bytes, needed: tuple[str, ...] = (), limit: int = 10_000) -> tuple[CsvFile, list[Row]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    file = CsvFile(path, needed, limit)
    return file, list(file.all_rows())


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    return [tuple(row.cells.values()) for row in rows]


def test_rows_are_the_same_from_any_place_on(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f'{n},"line one\nline, two {n}"\n' + "\n" * (n % 3) for n in range(2000))
    file, rows = read(tmp_path / "a.csv", text)
    assert len(rows) == 2000
    assert rows[1999].cells == {"a": "1999", "b": "line one\nline, two 1999"}
    for first, last in ((0, 3), (255, 258), (1000, 1700), (1990, 2000), (1998, 5000)):
        assert list(file.rows(first, last)) == rows[first:last]


def test_byte_order_mark_line_ends_and_other_scripts(tmp_path: Path) -> None:
    _, rows = read(tmp_path / "a.csv", "\ufeff a ,b\r\n1, 猫が走る \r\n2,قطة".encode())
    assert [row.cells for row in rows] == [{"a": "1", "b": "猫が走る"}, {"a": "2", "b": "قطة"}]
    _, rows = read(tmp_path / "a.csv", b"a,b\n1,\xff\xfe\n")
    assert cells(rows) == [("1", "\ufffd\ufffd")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1", "bad_row: 1 fields, expected 2"),
        ("1,2,3", "bad_row: 3 fields, expected 2"),
        ('1,"' + "x" * 200_000 + '"', "bad_row: field larger than field limit (131072)"),
        ("1," + "x" * 200_000, "bad_row: field larger than field limit (131072)"),
    ],
)
def test_a_bad_row_costs_no_other(tmp_path: Path, line: str, problem: str) -> None:
    _, rows = read(tmp_path / "a.csv", f"a,b\n0,zero\n{line}\n2,two\n")
    assert [row.problem for row in rows] == ["", problem, ""]
    assert rows[2].cells == {"a": "2", "b": "two"}


@pytest.mark.parametrize("caption", ['"broken', 'a 5" screen', '"5" screen"', '"', 'a"b'])
def test_a_stray_quotation_mark_swallows_no_rows(tmp_path: Path, caption: str) -> None:
    _, rows = read(tmp_path / "a.csv", f'a,b\n1,{caption}\n2,"two, fine"\n3,"three\n4,"x\n5,five\n')
    assert [row.cells["a"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert not any(row.problem for row in rows)


def test_missing_columns_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks columns: c, d; it has a, b"):
        read(tmp_path / "a.csv", "a,b\n1,2\n", needed=("b", "c", "d"))


@pytest.mark.parametrize("text", [b"", b"\n", b"\xff\xfe\x00,\n"])
def test_what_is_no_csv_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(UserError, match="is not a CSV file"):
        read(tmp_path / "a.csv", text)


def test_a_line_without_end_is_read_in_pieces(tmp_path: Path) -> None:
    _, rows = read(tmp_path / "a.csv", b"a,b\n" + b"x" * (5 << 20) + b"\n1,2\n")
    assert {row.problem.partition(":")[0] for row in rows[:-1]} == {"bad_row"}
    assert rows[-1].cells == {"a": "1", "b": "2"}


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as out:
        out.write("a,b\n")
        out.writelines(f"{n},{'a caption ' * 50}\n" for n in range(20_000))  # 10 MB
    tracemalloc.start()
    try:
        file = CsvFile(tmp_path / "a.csv", ("a",), 20_000)
        assert sum(1 for _ in file.all_rows()) == 20_000
        assert sum(1 for _ in file.rows(19_000, 20_000)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
