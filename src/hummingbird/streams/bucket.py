"""Files of an S3 bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hummingbird import storage
from hummingbird.errors import UserError
from hummingbird.streams.stream import CHUNK, InterruptedTransferError, Stream, UnavailableError

_STALE = ("PreconditionFailed", "InvalidRange", "412", "416")  # another version by now, or shorter than the offset


@dataclass(frozen=True)
class BucketSource:
    """The object ``s3://bucket/key``. ``client``: boto3's, to share; none = one of its own."""

    address: str
    client: Any = None

    @property
    def url(self) -> str:
        return self.address

    @contextmanager
    def open(self, offset: int, version: str) -> Iterator[Stream]:
        try:
            with storage.explained(self.address):
                answer = self._get(offset, version)
        except UserError as error:
            raise UnavailableError(error.problem, error.next_step) from error
        body = answer["Body"]
        try:
            start, total = _extent(answer)
            stated = answer.get("Metadata", {}).get(storage.SHA256)
            yield Stream(start, total, answer.get("ETag", ""), _chunks(body), stated)
        finally:
            body.close()

    def _get(self, offset: int, version: str) -> Any:
        from botocore.exceptions import ClientError

        bucket, key = storage.split(self.address)
        client = self.client or storage.client()
        if not offset or not version:
            return client.get_object(Bucket=bucket, Key=key)
        try:
            return client.get_object(Bucket=bucket, Key=key, Range=f"bytes={offset}-", IfMatch=version)
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code")) not in _STALE:
                raise
            return client.get_object(Bucket=bucket, Key=key)


def _extent(answer: Any) -> tuple[int, int]:
    """First byte of the answer, and size of the whole object."""
    if span := answer.get("ContentRange"):  # bytes 5-9/10
        first, total = span.removeprefix("bytes ").split("/")
        return int(first.split("-")[0]), int(total)
    return 0, int(answer["ContentLength"])


def _chunks(body: Any) -> Iterator[bytes]:
    """The body in pieces; what boto3 and urllib3 raise when it breaks off is an interruption."""
    from botocore.exceptions import BotoCoreError
    from urllib3.exceptions import HTTPError

    try:
        yield from body.iter_chunks(CHUNK)
    except (BotoCoreError, HTTPError, OSError) as error:
        raise InterruptedTransferError(str(error)) from error
