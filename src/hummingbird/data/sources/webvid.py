"""WebVid's CSV: ``videoid, contentUrl, duration, page_dir, name``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from hummingbird.data.sources.csvfile import Cells
from hummingbird.data.sources.places import Place, address, local
from hummingbird.data.sources.tables import TableSource


class WebVidSource(TableSource):
    """Below a folder, files are found as ``<basename of contentUrl>`` or ``[videos/]page_dir/videoid.mp4``. With the
    CSV alone they are looked for beside it, and only what is not there has an address. Durations are measured, not
    read."""

    needed = ("videoid", "contentUrl", "page_dir", "name")

    def id_of(self, cells: Cells) -> str:
        return cells.get("videoid", "")

    def caption_of(self, cells: Cells) -> str:
        return cells.get("name", "")

    def place_of(self, cells: Cells) -> Place:
        place = local(self._candidates(cells), self.root)
        return place if place[0] or self.folder is not None else address(cells["contentUrl"], self.root)

    def _candidates(self, cells: Cells) -> Iterator[Path]:
        try:
            name = PurePosixPath(unquote(urlsplit(cells["contentUrl"]).path)).name
        except ValueError:  # no address; the file may be there under its id
            name = ""
        if name:
            yield self.root / name
        for top in ("", "videos"):
            yield self.root / top / cells["page_dir"] / f"{cells['videoid']}.mp4"
