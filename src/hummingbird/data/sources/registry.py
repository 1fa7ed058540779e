"""Which source ``download.source`` means, by its format: one of this table, or one of the user's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from hummingbird.data.sources.base import ClipSource, Source
from hummingbird.data.sources.bucket import BucketSource
from hummingbird.data.sources.csvfile import read_header
from hummingbird.data.sources.folder import CaptionTableSource, FolderSource
from hummingbird.data.sources.hub import HubSource
from hummingbird.data.sources.openvid import OpenVidSource
from hummingbird.data.sources.tables import TableSource
from hummingbird.data.sources.webvid import WebVidSource
from hummingbird.data.sources.world import WorldSource
from hummingbird.errors import UserError, did_you_mean
from hummingbird.params import Download

AnySource = Source | ClipSource
Opener = Callable[[Download], AnySource]


def open_source(params: Download) -> AnySource:
    """The source that ``params`` names, opened: its errors belong at the start.

    Raises:
        UserError: there is no such format, or the source cannot be used.
    """
    return _opener(params.format or _format_of(params))(params)


def _format_of(params: Download) -> str:
    """What ``download.source`` looks like."""
    if params.source == "world":
        return "world"
    if params.source.startswith("s3://"):
        return "bucket"
    if params.source.startswith("hf://"):
        return "hub"
    csv = _csv_of(params)
    if csv is None:
        return "folder"
    columns, _ = read_header(csv)
    if "contentUrl" in columns or "videoid" in columns:
        return "webvid"
    return "openvid" if "video" in columns else "captions"


def _opener(name: str) -> Opener:
    if ":" in name:
        return _users(name)
    if name not in FORMATS:
        raise UserError(
            f"download.format: no format {name!r}; {did_you_mean(name, FORMATS)}",
            "name one of these, module:name of your own, or nothing, to go by download.source",
        )
    return FORMATS[name]


def _users(name: str) -> Opener:
    """``module:name``, where modules of the current folder count too."""
    module, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        opener: Opener = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"download.format: cannot import {name}: {error}", "write it as module:name") from error
    return opener


def _csv_of(params: Download) -> Path | None:
    """The CSV that goes with the source: the named one, the source itself, or ``clips.csv`` in the folder."""
    source = Path(params.source)
    if params.csv:
        return Path(params.csv)
    if source.suffix.lower() == ".csv":
        return source
    return source / "clips.csv" if (source / "clips.csv").is_file() else None


def _limit(params: Download) -> int:
    return params.clips or sys.maxsize


def _table(kind: type[TableSource]) -> Opener:
    def opened(params: Download) -> TableSource:
        source, csv = Path(params.source), _csv_of(params)
        if source.suffix.lower() == ".csv" and csv == source:
            return kind(source, None, _limit(params))
        if not source.is_dir():
            raise UserError(f"download.source: no folder {source}", "set it to `world`, a folder or a CSV")
        return kind(csv or source / "clips.csv", source, _limit(params))

    return opened


FORMATS: dict[str, Opener] = {
    "bucket": lambda params: BucketSource(params.source, _limit(params)),
    "captions": _table(CaptionTableSource),
    "folder": lambda params: FolderSource(Path(params.source), _limit(params)),
    "hub": lambda params: HubSource(params.source, _limit(params)),
    "openvid": _table(OpenVidSource),
    "webvid": _table(WebVidSource),
    "world": WorldSource,
}
