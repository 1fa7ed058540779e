"""Videos below a prefix of an S3 bucket, captioned by a text beside each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from hummingbird import s3
from hummingbird.data.sources.base import Item
from hummingbird.data.sources.folder import CAPTION_BYTES, caption_in
from hummingbird.data.sources.listing import Listing
from hummingbird.data.sources.places import VIDEOS, Place
from hummingbird.errors import UserError

_READERS = 16  # captions that are read at once


class BucketSource(Listing):
    """Every video below ``s3://bucket/prefix``, in the bucket's order; captions as in a folder.

    The server and the credentials come from the environment, see :mod:`hummingbird.s3`.

    Raises:
        UserError: the bucket cannot be listed, or holds no video there.
    """

    def __init__(self, uri: str, limit: int) -> None:
        parts = urlsplit(uri)
        self.uri, self._bucket = uri, parts.netloc
        self._client = s3.client()
        self._captions: dict[str, str] = {}  # key of a text without its suffix -> the suffix
        self._state = hashlib.sha256()
        videos: list[str] = []
        for entry in self._listed(parts.path.lstrip("/")):
            key, suffix = entry["Key"], PurePosixPath(entry["Key"]).suffix
            if suffix.lower() in VIDEOS:
                videos.append(key)
            elif suffix in (".txt", ".json"):
                self._captions[key.removesuffix(suffix)] = suffix
            self._state.update(f"{key}\0{entry.get('ETag')}\0{entry['Size']}\n".encode())
        if not videos:
            raise UserError(f"{uri} has no videos", f"name a prefix with objects of {', '.join(sorted(VIDEOS))}")
        super().__init__(self._bucket, videos[:limit])

    def _listed(self, prefix: str) -> Iterator[dict[str, Any]]:
        with s3.explained(self.uri):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                yield from page.get("Contents", [])

    def items(self, first: int, last: int) -> Iterator[Item]:
        with ThreadPoolExecutor(_READERS) as pool:
            yield from pool.map(self._item, range(first, last))

    def id_of(self, name: str) -> str:
        return name.removesuffix(PurePosixPath(name).suffix)

    def place_of(self, name: str) -> Place:
        return f"s3://{self._bucket}/{name}", ""

    def caption_of(self, name: str) -> str:
        stem = self.id_of(name)
        suffix = self._captions.get(stem)
        if suffix is None:
            return ""
        with s3.explained(f"s3://{self._bucket}/{stem}{suffix}"):
            body = self._client.get_object(Bucket=self._bucket, Key=stem + suffix)["Body"]
            return caption_in(body.read(CAPTION_BYTES), suffix)

    def fingerprint(self) -> str:
        return self._state.hexdigest()
