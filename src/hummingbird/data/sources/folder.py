"""A folder of videos, captioned by a text beside each of them or by a CSV."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from hummingbird.data.sources.csvfile import Cells, read_header
from hummingbird.data.sources.listing import Listing
from hummingbird.data.sources.places import VIDEOS, Place, address, folder_state, local
from hummingbird.data.sources.tables import TableSource
from hummingbird.errors import UserError

CAPTION_BYTES = 1 << 16  # more of a caption's file is not read
PATH_COLUMNS = ("path", "file", "file_name")
TEXT_COLUMNS = ("text", "caption")


class FolderSource(Listing):
    """Every video below ``folder``, in alphabetical order, captioned by ``NAME.txt`` or ``NAME.json`` (a text, or an
    object with ``caption`` or ``text``) beside it.

    Raises:
        UserError: there is no such folder, or no video in it.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise UserError(f"download.source: no folder {folder}", "set it to `world`, or to a folder of videos")
        videos = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS)
        found = sorted(path.relative_to(folder).as_posix() for path in videos)
        if not found:
            raise UserError(f"{folder} has no videos", f"name a folder with files of {', '.join(sorted(VIDEOS))}")
        super().__init__(folder.resolve().name, found[:limit], root=folder)

    def id_of(self, name: str) -> str:
        return PurePosixPath(name).with_suffix("").as_posix()

    def place_of(self, name: str) -> Place:
        return local([self.folder / name], self.folder)

    def caption_of(self, name: str) -> str:
        for suffix in (".txt", ".json"):
            path = (self.folder / name).with_suffix(suffix)
            try:
                with path.open("rb") as file:
                    return caption_in(file.read(CAPTION_BYTES), suffix)
            except OSError:
                continue
        return ""

    def fingerprint(self) -> str:
        return folder_state(self.folder)


class CaptionTableSource(TableSource):
    """A CSV with columns ``path`` (or ``file``, ``file_name``) and ``text`` (or ``caption``)."""

    def __init__(self, csv: Path, folder: Path | None, limit: int) -> None:
        columns, _ = read_header(csv)
        self._path = next((name for name in PATH_COLUMNS if name in columns), PATH_COLUMNS[0])
        self._text = next((name for name in TEXT_COLUMNS if name in columns), TEXT_COLUMNS[0])
        self.needed = (self._path, self._text)
        super().__init__(csv, folder, limit)

    def id_of(self, cells: Cells) -> str:
        return cells.get(self._path, "").removesuffix(PurePosixPath(cells.get(self._path, "")).suffix)

    def caption_of(self, cells: Cells) -> str:
        return cells.get(self._text, "")

    def place_of(self, cells: Cells) -> Place:
        return address(cells[self._path], self.root)


def caption_in(data: bytes, suffix: str) -> str:
    """The caption in a ``.txt`` or ``.json`` file; empty if it is not to be found."""
    text = data.decode("utf-8-sig", errors="replace")
    if suffix == ".txt":
        return text.strip()
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    if isinstance(value, dict):
        value = next((value[name] for name in TEXT_COLUMNS if name in value), "")
    return value.strip() if isinstance(value, str) else ""
