"""A CSV of any length, read row by row, and from any row on, without ever holding it in memory.

One bad row costs that row only: a stray quotation mark, which would swallow the rows behind it, is taken as a letter
and the row to end with its line.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from hummingbird.errors import UserError

Cells = dict[str, str]
_STRIDE = 256  # rows between two remembered places
_LINE = 1 << 20  # bytes; a longer line is no row


@dataclass(frozen=True)
class Row:
    """Cells by column, stripped; and why they cannot be trusted (``code: detail``), if so."""

    number: int
    cells: Cells
    problem: str = ""


class CsvFile:
    """``path``, of which the first ``limit`` rows count. Empty lines do not.

    Raises:
        UserError: it is missing, has no header or lacks columns.
    """

    def __init__(self, path: Path, needed: Sequence[str], limit: int) -> None:
        self.path, self.limit = path, limit
        self.columns, self._start = read_header(path)
        missing = [name for name in needed if name not in self.columns]
        if missing:
            raise UserError(
                f"{path} lacks columns: {', '.join(missing)}; it has {', '.join(self.columns)}",
                "mend its first line, or name its format in download.format",
            )
        self._marks = array("Q")  # where every _STRIDE-th row begins

    @cached_property
    def sha256(self) -> str:
        """Of the whole file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def all_rows(self) -> Iterator[Row]:
        """Every row; remembers where some of them begin. To be read to its end once, before :meth:`rows`."""
        self._marks = array("Q")
        with self.path.open("rb") as file:
            file.seek(self._start)
            for number in range(self.limit):
                place = file.tell()
                row = self._next(file, number)
                if row is None:
                    return
                if number % _STRIDE == 0:
                    self._marks.append(place)
                yield row

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """Rows ``first`` (included) to ``last`` (excluded)."""
        if first >= last:
            return
        with self.path.open("rb") as file:
            file.seek(self._marks[first // _STRIDE])
            for number in range(first - first % _STRIDE, last):
                row = self._next(file, number)
                if row is not None and number >= first:
                    yield row

    def _next(self, file: BinaryIO, number: int) -> Row | None:
        """The row at the file's position, which moves behind it; None at the end."""
        line = file.readline(_LINE)
        while line and not line.strip():
            line = file.readline(_LINE)
        if not line:
            return None
        behind, lines = file.tell(), itertools.chain([line], iter(lambda: file.readline(_LINE), b""))
        cells, problem = self._parsed(lines, strict=True)
        if problem:
            file.seek(behind)
            cells, problem = self._parsed([line], strict=False)
        return Row(number, {name: cell.strip() for name, cell in zip(self.columns, cells, strict=False)}, problem)

    def _parsed(self, lines: Iterable[bytes], *, strict: bool) -> tuple[list[str], str]:
        """Fields of the first row of some lines, and what is wrong with it. ``strict``: stray quotation marks are."""
        try:
            cells = next(csv.reader((line.decode(errors="replace") for line in lines), strict=strict))
        except csv.Error as error:
            return [], f"bad_row: {error}"
        wanted = len(self.columns)
        return cells, "" if len(cells) == wanted else f"bad_row: {len(cells)} fields, expected {wanted}"


def read_header(path: Path) -> tuple[list[str], int]:
    """The names of the columns, and where the first row begins, in bytes.

    Raises:
        UserError: there is no such file, or it has no header.
    """
    if not path.is_file():
        raise UserError(f"no CSV file {path}", "look at download.source and download.csv in params.yaml")
    with path.open("rb") as file:
        line = file.readline(_LINE)
        try:
            columns = [name.strip() for name in next(csv.reader([line.decode("utf-8-sig")]), [])]
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a CSV file: {error}", "mend it and run again") from error
        if not any(columns):
            raise UserError(f"{path} is not a CSV file: its first line names no column", "mend it and run again")
        return columns, file.tell()
