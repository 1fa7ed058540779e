"""Files in S3 or anything that speaks its protocol (``s3://bucket/key``), each checked by its SHA-256.

The server and the credentials come from the environment as boto3 reads it (``AWS_ENDPOINT_URL_S3``,
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ...).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hummingbird.errors import UserError

SHA256 = "sha256"  # name of the user metadata that holds the hash
REASONS = {  # S3's error code -> what it means to a user, and what to do
    "404": ("is not there", "check the bucket and the key"),
    "NoSuchKey": ("is not there", "check the bucket and the key"),
    "NoSuchBucket": ("lies in a bucket that does not exist", "check the bucket's name, or make it"),
    "403": ("may not be accessed", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the bucket's policy"),
    "AccessDenied": ("may not be accessed", "check the bucket's policy"),
    "InvalidAccessKeyId": ("may not be accessed: unknown access key", "check AWS_ACCESS_KEY_ID"),
    "SignatureDoesNotMatch": ("may not be accessed: wrong secret", "check AWS_SECRET_ACCESS_KEY"),
}


def upload(file: Path, uri: str) -> str:
    """Copy ``file`` to ``uri`` and return its SHA-256 (hex), which is stored with it.

    Raises:
        UserError: the file is missing, or S3 cannot be reached or refuses.
    """
    if not file.is_file():
        raise UserError(f"no file {file} to upload", "check the path")
    digest = sha256_of(file)
    bucket, key = _split(uri)
    with _explained(uri):
        _client().upload_file(str(file), bucket, key, ExtraArgs={"Metadata": {SHA256: digest}})
    return digest


def download(uri: str, file: Path, sha256: str | None = None) -> str:
    """Copy ``uri`` to ``file``, which appears only when it is whole, and return its SHA-256 (hex).

    Args:
        sha256: what the file must be; None takes the hash that :func:`upload` stored with it, if there is one.

    Raises:
        UserError: S3 cannot be reached or refuses, the disk cannot be written to, or the content is not what it must
            be; then ``file`` is left as it was.
    """
    bucket, key = _split(uri)
    part = file.with_name(file.name + ".part")
    try:
        with _explained(uri):
            client = _client()
            stored = client.head_object(Bucket=bucket, Key=key).get("Metadata", {}).get(SHA256)
            file.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(part))
        digest, wanted = sha256_of(part), sha256 or stored
        if wanted and digest != wanted:
            raise UserError(
                f"{uri} is not what it should be: SHA-256 {digest}, expected {wanted}",
                "it was changed or damaged: upload it again, or correct the expected hash",
            )
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return digest


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _client() -> Any:
    import boto3
    from botocore.config import Config

    retries: Any = {"mode": "standard", "total_max_attempts": 5}
    return boto3.client("s3", config=Config(retries=retries, connect_timeout=10, read_timeout=60))


def _split(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``."""
    parts = urlsplit(uri)
    key = parts.path.lstrip("/")
    if parts.scheme != "s3" or not parts.netloc or not key:
        raise UserError(f"{uri!r} is no address of an object", "write it as s3://bucket/key")
    return parts.netloc, key


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn what boto3 raises about ``uri`` into a :class:`UserError`."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        reason, step = REASONS.get(code, (f"cannot be used: {error}", "try again, then ask who runs the server"))
        raise UserError(f"{uri} {reason}", step) from error
    except Boto3Error as error:  # a failed upload; the cause is in its text
        known = next((REASONS[code] for code in REASONS if f"({code})" in str(error)), None)
        reason, step = known or (f"cannot be uploaded: {error}", "try again, then ask who runs the server")
        raise UserError(f"{uri} {reason}", step) from error
    except NoCredentialsError as error:
        raise UserError(f"no credentials for {uri}", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except EndpointConnectionError as error:
        raise UserError(f"no S3 server answers for {uri}: {error}", "check AWS_ENDPOINT_URL_S3") from error
    except (BotoCoreError, OSError) as error:
        raise UserError(
            f"{uri} could not be copied: {error}", "check the network and the disk, then try again"
        ) from error
