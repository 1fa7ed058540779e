"""What a run has settled so far, on disk: a run that goes on after a kill asks no server a second time."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType

from hummingbird.errors import UserError

_TABLE = "CREATE TABLE IF NOT EXISTS outcomes (name TEXT PRIMARY KEY, sha256 TEXT, problem TEXT)"


class Journal:
    """Outcome of each item by name, in an SQLite file: ten million rows need no memory, and no kill tears one."""

    def __init__(self, path: Path) -> None:
        """Open ``path``, or begin it.

        Raises:
            UserError: it is damaged or cannot be written to.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"cannot use {path}: {error}", "delete it, or make room for it, and run again") from error

    def get(self, name: str) -> tuple[str, str] | None:
        """sha256 and problem, one of them empty; None if it is not settled.

        Raises:
            UserError: the file is damaged or cannot be read.
        """
        try:
            found = self._database.execute("SELECT sha256, problem FROM outcomes WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise UserError(f"cannot read {self._path}: {error}", "delete it, and run again") from error
        return None if found is None else (str(found[0]), str(found[1]))

    def put(self, name: str, sha256: str, problem: str) -> None:
        """Settle one.

        Raises:
            UserError: the disk is full or cannot be written to.
        """
        try:
            self._database.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", (name, sha256, problem))
        except sqlite3.Error as error:
            raise UserError(f"cannot write the journal of fetched videos: {error}", "free some disk space") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()
