"""S3 as a source, against moto's server."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hummingbird import storage
from hummingbird.checkpoints import transfer as module
from hummingbird.checkpoints.catalogue import File
from hummingbird.checkpoints.transfer import Wanted, transfer
from hummingbird.errors import UserError
from hummingbird.runlog import SilentLog
from hummingbird.streams.bucket import BucketSource
from hummingbird.streams.partial import Partial

DATA = random.Random(1).randbytes(9000)
SOURCE = BucketSource("s3://weights/net/model.pt")
UNPINNED = Wanted(File(path="model.pt"))


@pytest.fixture(autouse=True)
def _bucket(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bucket ``weights`` with ``net/model.pt``."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": moto,
        "AWS_ACCESS_KEY_ID": "test-access-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    storage.client().create_bucket(Bucket="weights")
    put(DATA)


def put(data: bytes, **metadata: str) -> None:
    storage.client().put_object(Bucket="weights", Key="net/model.pt", Body=data, Metadata=metadata)


@pytest.fixture
def partial(tmp_path: Path) -> Partial:
    return Partial(tmp_path / "key.part")


def leave_a_part(partial: Partial, size: int = 5000) -> None:
    """What a killed fetch leaves."""
    with SOURCE.open(0, "") as stream:
        partial.begin(SOURCE.address, stream.version, 0, stream.total)
    partial.path.write_bytes(DATA[:size])


def test_an_object_comes_whole(partial: Partial) -> None:
    assert transfer(SOURCE, partial, UNPINNED, SilentLog()).bytes == 9000
    assert partial.path.read_bytes() == DATA


def test_the_rest_alone_is_fetched(partial: Partial) -> None:
    leave_a_part(partial)
    with SOURCE.open(*partial.resumable(SOURCE.address, verifiable=False)) as stream:
        assert (stream.start, stream.total) == (5000, 9000)
        assert b"".join(stream.chunks) == DATA[5000:]
    transfer(SOURCE, partial, UNPINNED, SilentLog())
    assert partial.path.read_bytes() == DATA


@pytest.mark.parametrize("data", [DATA[::-1], DATA[:3000]])
def test_an_object_that_changed_meanwhile_is_begun_anew(partial: Partial, data: bytes) -> None:
    leave_a_part(partial)
    put(data)
    transfer(SOURCE, partial, UNPINNED, SilentLog())
    assert partial.path.read_bytes() == data


def test_the_hash_that_lies_with_an_object_is_checked(partial: Partial) -> None:
    put(DATA, sha256="0" * 64)
    with pytest.raises(UserError, match="what the source itself states"):
        transfer(SOURCE, partial, UNPINNED, SilentLog())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://weights/none.pt", "is not there"),
        ("s3://no-such-bucket/x.pt", "bucket that does not exist"),
        ("s3://weights", "is no address of an object"),
    ],
)
def test_what_is_missing_is_named(partial: Partial, address: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        transfer(BucketSource(address), partial, UNPINNED, SilentLog())


def test_a_dead_server_is_explained(partial: Partial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)  # the pauses between boto3's attempts
    with pytest.raises(UserError, match="no S3 server answers"):
        transfer(SOURCE, partial, UNPINNED, SilentLog())


def test_a_body_that_breaks_off_is_taken_up_again(partial: Partial, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.response import StreamingBody
    from urllib3.exceptions import ProtocolError

    plain, broken = StreamingBody.iter_chunks, []

    def iter_chunks(self: StreamingBody, size: int) -> Iterator[bytes]:
        for number, chunk in enumerate(plain(self, size)):
            if number == 4 and not broken:
                broken.append(True)
                raise ProtocolError("connection reset")
            yield chunk

    monkeypatch.setattr(StreamingBody, "iter_chunks", iter_chunks)
    transfer(SOURCE, partial, UNPINNED, SilentLog())
    assert broken
    assert partial.path.read_bytes() == DATA
