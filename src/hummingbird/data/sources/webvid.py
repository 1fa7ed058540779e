"""WebVid's CSV: ``videoid, contentUrl, duration, page_dir, name``."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from hummingbird.data.sources.csvfile import Cells
from hummingbird.data.sources.places import Place, address, local
from hummingbird.data.sources.tables import TableSource


class WebVidSource(TableSource):
    """Below a folder, files are found as ``<basename of contentUrl>`` or ``[videos/]page_dir/videoid.mp4``. Durations
    are measured, not read."""

    needed = ("videoid", "contentUrl", "page_dir", "name")

    def id_of(self, cells: Cells) -> str:
        return cells.get("videoid", "")

    def caption_of(self, cells: Cells) -> str:
        return cells.get("name", "")

    def place_of(self, cells: Cells) -> Place:
        if self.folder is None:
            return address(cells["contentUrl"], self.root)
        try:
            name = PurePosixPath(unquote(urlsplit(cells["contentUrl"]).path)).name
        except ValueError:  # no address; the file may be there under its id
            name = ""
        places = [self.folder / name] if name else []
        places += [self.folder / top / cells["page_dir"] / f"{cells['videoid']}.mp4" for top in ("", "videos")]
        return local(places, self.folder)
