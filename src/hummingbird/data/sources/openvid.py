"""OpenVid-1M's CSV: ``video, caption, aesthetic score, motion score, temporal consistency score, camera motion, frame,
fps, seconds``. Only the first two are read: this project measures the rest itself."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path, PurePosixPath

from hummingbird.data.sources.csvfile import Cells
from hummingbird.data.sources.places import Place, address, local
from hummingbird.data.sources.tables import TableSource


class OpenVidSource(TableSource):
    """``video`` is a file's name; the file lies in the folder or in one of its subfolders, as the parts of the archive
    unpack. Addresses in its place are fetched."""

    needed = ("video", "caption")

    def id_of(self, cells: Cells) -> str:
        return PurePosixPath(cells.get("video", "")).stem

    def caption_of(self, cells: Cells) -> str:
        return cells.get("caption", "")

    def place_of(self, cells: Cells) -> Place:
        name = cells["video"]
        if not name or "://" in name:
            return address(name, self.root)
        return local((folder / name for folder in self._folders), self.root)

    @cached_property
    def _folders(self) -> list[Path]:
        return [self.root, *sorted(path for path in self.root.iterdir() if path.is_dir())]
