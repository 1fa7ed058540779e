"""Sources that are a CSV: what all of them share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from hummingbird.data.sources.base import Item
from hummingbird.data.sources.csvfile import Cells, CsvFile, Row
from hummingbird.data.sources.ids import Ids, safe_id
from hummingbird.data.sources.places import Place, folder_state
from hummingbird.errors import UserError


class TableSource(ABC):
    """The first ``limit`` rows of ``csv``. The videos lie below ``folder``; with ``folder`` None, the CSV has their
    addresses, and paths in it start from where it lies.

    The CSV is read whole once, at the start, to number repeated ids; from then on piece by piece.

    Raises:
        UserError: the CSV is missing, lacks columns or has no rows.
    """

    needed: tuple[str, ...]  # columns

    def __init__(self, csv: Path, folder: Path | None, limit: int) -> None:
        self.csv, self.folder = csv, folder
        self._file = CsvFile(csv, self.needed, limit)
        self._ids = Ids(safe_id(self._name(row)) for row in self._file.all_rows())
        if not len(self._ids):
            raise UserError(f"{csv} has no rows", "name at least one video")

    @property
    def root(self) -> Path:
        return self.folder or self.csv.parent

    def __len__(self) -> int:
        return len(self._ids)

    def items(self, first: int, last: int) -> Iterator[Item]:
        for row in self._file.rows(first, last):
            name = self._name(row)
            uri, problem = ("", row.problem) if row.problem else self.place_of(row.cells)
            yield Item(
                clip_id=self._ids.unique(row.number, safe_id(name)),
                uri=uri,
                caption=self.caption_of(row.cells),
                source=self.root.resolve().name if self.folder else self.csv.stem,
                problem=problem,
                source_id=name,
            )

    def _name(self, row: Row) -> str:
        return self.id_of(row.cells) or f"row{row.number}"

    def fingerprint(self) -> str:
        state = folder_state(self.folder) if self.folder else ""
        return hashlib.sha256(f"{type(self).__name__} {self._file.sha256} {state}".encode()).hexdigest()

    @abstractmethod
    def id_of(self, cells: Cells) -> str:
        """What the source calls the clip; may be empty, repeated or unsafe. Of a bad row, cells may be missing."""

    @abstractmethod
    def caption_of(self, cells: Cells) -> str:
        """The raw caption. Of a bad row, cells may be missing."""

    @abstractmethod
    def place_of(self, cells: Cells) -> Place:
        """Where the video is."""
