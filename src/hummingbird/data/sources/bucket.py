"""Videos below a prefix of an S3 bucket, captioned by a text beside each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from hummingbird import storage
from hummingbird.data.sources.base import Item
from hummingbird.data.sources.folder import CAPTION_BYTES, caption_in
from hummingbird.data.sources.listing import Listing
from hummingbird.data.sources.places import VIDEOS, Place
from hummingbird.errors import UserError

_READERS = 16  # captions that are read at once
_AHEAD = 64  # captions that are read before they are asked for
_REFUSED = {"AccessDenied", "InvalidObjectState", "NoSuchKey"}  # S3's codes for what concerns one object alone


class BucketSource(Listing):
    """Every video below ``s3://bucket/prefix``, in the bucket's order; captions as in a folder.

    The server and the credentials come from the environment, see :mod:`hummingbird.storage`. Captions are read for
    :meth:`items` alone: whether an object has changed, the list of the bucket tells.

    Raises:
        UserError: the bucket cannot be listed, or holds no video there.
    """

    def __init__(self, uri: str, limit: int) -> None:
        parts = urlsplit(uri)
        self.uri, self._bucket = uri, parts.netloc
        self._client = storage.client()
        self._captions: dict[str, tuple[str, str]] = {}  # key of a text without its suffix -> suffix and stamp
        self._stamps: list[str] = []  # of the videos
        self._state = hashlib.sha256()
        videos: list[str] = []
        for entry in self._listed(parts.path.lstrip("/")):
            key, suffix = entry["Key"], PurePosixPath(entry["Key"]).suffix
            stamp = f"{entry.get('ETag')} {entry['Size']}"
            if suffix.lower() in VIDEOS:
                videos.append(key)
                self._stamps.append(stamp)
            elif suffix in (".txt", ".json"):
                self._captions[key.removesuffix(suffix)] = suffix, stamp
            self._state.update(f"{key}\0{entry.get('ETag')}\0{entry['Size']}\n".encode())
        if not videos:
            raise UserError(f"{uri} has no videos", f"name a prefix with objects of {', '.join(sorted(VIDEOS))}")
        super().__init__(self._bucket, videos[:limit])

    def _listed(self, prefix: str) -> Iterator[dict[str, Any]]:
        with storage.explained(self.uri):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                yield from page.get("Contents", [])

    def items(self, first: int, last: int) -> Iterator[Item]:
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(first, last, _AHEAD):
                yield from pool.map(self._captioned, self.places(start, min(start + _AHEAD, last)))

    def places(self, first: int, last: int) -> Iterator[Item]:
        for number in range(first, last):
            name = self.names[number]
            yield Item(self.clip_id(number), self.place_of(name)[0], "", self.source, source_id=self.id_of(name))

    def stamp(self, number: int) -> str:
        name = self.names[number]
        return repr((self.clip_id(number), name, self._stamps[number], self._captions.get(self.id_of(name))))

    def _captioned(self, item: Item) -> Item:
        try:
            return replace(item, caption=self._read(item.source_id))
        except UserError as error:
            cause = error.__cause__
            code = cause.response.get("Error", {}).get("Code") if isinstance(cause, ClientError) else ""
            if code not in _REFUSED:
                raise
            return replace(item, problem=f"no_caption: {code}")

    def id_of(self, name: str) -> str:
        return name.removesuffix(PurePosixPath(name).suffix)

    def place_of(self, name: str) -> Place:
        return f"s3://{self._bucket}/{name}", ""

    def caption_of(self, name: str) -> str:
        return self._read(self.id_of(name))

    def _read(self, stem: str) -> str:
        if stem not in self._captions:
            return ""
        suffix, _ = self._captions[stem]
        with storage.explained(f"s3://{self._bucket}/{stem}{suffix}"):
            body = self._client.get_object(Bucket=self._bucket, Key=stem + suffix)["Body"]
            return caption_in(body.read(CAPTION_BYTES), suffix)

    def fingerprint(self) -> str:
        return self._state.hexdigest()
