from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hummingbird import s3
from hummingbird.errors import UserError
from hummingbird.ops import storage


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a moto server: S3's semantics in memory."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3.client().create_bucket(Bucket="clips")
    return "s3://clips"


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "00000.tar"
    path.write_bytes(bytes(range(256)) * 40_000)  # 10 MB: more than one part of an upload
    return path


def test_what_comes_back_is_what_went_up(bucket: str, shard: Path, tmp_path: Path) -> None:
    digest = storage.upload(shard, f"{bucket}/raw/00000.tar")
    assert storage.download(f"{bucket}/raw/00000.tar", tmp_path / "new/back.tar") == digest
    assert (tmp_path / "new/back.tar").read_bytes() == shard.read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_damage_is_noticed_and_the_old_file_kept(bucket: str, shard: Path, tmp_path: Path) -> None:
    uri = f"{bucket}/raw/damaged.tar"
    digest = storage.upload(shard, uri)
    s3.client().put_object(Bucket="clips", Key="raw/damaged.tar", Body=b"something else", Metadata={s3.SHA256: digest})
    old = tmp_path / "old.tar"
    old.write_text("good")
    with pytest.raises(UserError, match=f"expected {digest}"):
        storage.download(uri, old)
    assert old.read_text() == "good"
    assert not list(tmp_path.rglob("*.part"))


def test_the_callers_hash_counts_more_than_the_stored_one(bucket: str, shard: Path, tmp_path: Path) -> None:
    storage.upload(shard, f"{bucket}/raw/00000.tar")
    with pytest.raises(UserError, match="expected 000"):
        storage.download(f"{bucket}/raw/00000.tar", tmp_path / "back.tar", sha256="0" * 64)


def test_what_is_missing_is_named(bucket: str, shard: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="s3://clips/nothing is not there"):
        storage.download(f"{bucket}/nothing", tmp_path / "back.tar")
    with pytest.raises(UserError, match="bucket that does not exist"):
        storage.upload(shard, "s3://no-such-bucket/key")
    with pytest.raises(UserError, match="no file"):
        storage.upload(tmp_path / "absent.tar", f"{bucket}/key")


@pytest.mark.parametrize("uri", ["clips/key", "s3://clips", "https://clips/key"])
def test_other_addresses_are_refused(uri: str, shard: Path) -> None:
    with pytest.raises(UserError, match="s3://bucket/key"):
        storage.upload(shard, uri)


def test_a_dead_server_is_explained(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the pauses between its attempts
    with pytest.raises(UserError, match="no S3 server answers"):
        storage.download(f"{bucket}/key", tmp_path / "back.tar")
