"""A dataset of the Hugging Face hub, or a local folder that ``datasets`` can load: rows with addresses and captions.

``datasets`` is not among this project's dependencies and is imported only here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hummingbird.data.sources.base import Item
from hummingbird.data.sources.ids import Ids, safe_id
from hummingbird.data.sources.places import address
from hummingbird.errors import UserError

_COLUMNS = {  # part -> names it goes by, the likeliest first
    "uri": ("contentUrl", "url", "video_url", "uri", "video", "path", "file_name"),
    "caption": ("caption", "text", "name", "prompt", "description"),
    "id": ("videoid", "video_id", "clip_id", "id"),
}
_ADDRESS = re.compile(r"hf://(?P<name>[^@#]+)(@(?P<revision>[^#]+))?(#(?P<split>.+))?")
_BATCH = 1000  # rows


class HubSource:
    """The first ``limit`` rows of ``hf://NAME[@REVISION][#SPLIT]``; the split is ``train`` unless named.

    Rows stay on disk, where ``datasets`` maps them. Paths in a row count from the dataset's folder, if it is local.

    Raises:
        UserError: ``datasets`` is not installed, cannot load the dataset, or there are no columns for address and
            caption.
    """

    def __init__(self, uri: str, limit: int) -> None:
        match = _ADDRESS.fullmatch(uri)
        if match is None:
            raise UserError(f"{uri!r} is no address of a dataset", "write it as hf://owner/name@revision#split")
        self.name = match["name"]
        self._rows = _load(self.name, match["revision"], match["split"] or "train")
        self._columns = _recognised(uri, self._rows)
        self._count = min(limit, len(self._rows))
        if not self._count:
            raise UserError(f"{uri} has no rows", "name another dataset or split")
        self._state = hashlib.sha256()
        self._ids = Ids(self._read())

    @property
    def root(self) -> Path | None:
        return Path(self.name) if Path(self.name).is_dir() else None

    def __len__(self) -> int:
        return self._count

    def _batches(self, first: int, last: int) -> Iterator[tuple[int, dict[str, str]]]:
        """Rows with their numbers, cells by part."""
        for start in range(first, last, _BATCH):
            batch = self._rows[start : min(start + _BATCH, last)]
            for offset in range(len(batch[self._columns["uri"]])):
                cells = {part: str(batch[name][offset] or "").strip() for part, name in self._columns.items()}
                yield start + offset, cells

    def _read(self) -> Iterator[str]:
        for number, cells in self._batches(0, self._count):
            self._state.update(repr(cells).encode(errors="surrogatepass"))
            yield safe_id(cells.get("id") or f"row{number}")

    def items(self, first: int, last: int) -> Iterator[Item]:
        for number, cells in self._batches(first, last):
            name = cells.get("id") or f"row{number}"
            uri, problem = address(cells["uri"], self.root)
            clip_id = self._ids.unique(number, safe_id(name))
            yield Item(clip_id, uri, cells["caption"], Path(self.name).name, problem, name)

    def fingerprint(self) -> str:
        return self._state.hexdigest()


def _load(name: str, revision: str | None, split: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"hf://{name} needs the package `datasets`", "install it: pip install datasets") from error
    try:
        return datasets.load_dataset(name, revision=revision, split=split)
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        raise UserError(
            f"hf://{name} cannot be loaded: {error}", "check the name, the split and the network"
        ) from error


def _recognised(uri: str, rows: Any) -> dict[str, str]:
    """Column of each part; those that are not plain text (a `Video`, which would be decoded) do not count."""
    texts = [name for name, kind in rows.features.items() if getattr(kind, "dtype", "") in ("string", "large_string")]
    found = {part: next((name for name in names if name in texts), "") for part, names in _COLUMNS.items()}
    missing = [f"{part} ({' or '.join(_COLUMNS[part])})" for part in ("uri", "caption") if not found[part]]
    if missing:
        raise UserError(
            f"{uri} lacks text columns: {', '.join(missing)}; it has {', '.join(texts) or 'none'}",
            "save its addresses and captions as a CSV with the columns path, text, and name that in download.source",
        )
    return {part: name for part, name in found.items() if name}
