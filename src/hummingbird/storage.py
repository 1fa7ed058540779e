"""Objects in S3 or in anything that speaks its protocol (``s3://bucket/key``): all that DVC and MLflow do not keep.

The server and the credentials come from the environment as boto3 reads it (``AWS_ENDPOINT_URL_S3``,
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ...). ``HUMMINGBIRD_S3_SSE`` (``AES256`` or
``aws:kms``) and ``HUMMINGBIRD_S3_KMS_KEY`` say how the server encrypts what is uploaded. Files travel in parts, each
checked by the server against its SHA-256 and sent again if it fails; the SHA-256 of the whole is stored with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hummingbird.errors import UserError, did_you_mean

SHA256 = "sha256"  # name of the user metadata that holds an object's hash
PART = 16 << 20  # bytes of a part; S3 allows 10,000 of them: boto3 takes larger ones for what exceeds 160 GB
ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
SSE, KMS_KEY = "HUMMINGBIRD_S3_SSE", "HUMMINGBIRD_S3_KMS_KEY"
REASONS = {  # S3's error code -> what it means to a user, and what to do
    "404": ("is not there", "check the bucket and the key"),
    "NoSuchKey": ("is not there", "check the bucket and the key"),
    "NoSuchBucket": ("lies in a bucket that does not exist", "check the bucket's name, or make it"),
    "403": ("may not be accessed", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the bucket's policy"),
    "AccessDenied": ("may not be accessed", "check the bucket's policy"),
    "InvalidAccessKeyId": ("may not be accessed: unknown access key", "check AWS_ACCESS_KEY_ID"),
    "SignatureDoesNotMatch": ("may not be accessed: wrong secret", "check AWS_SECRET_ACCESS_KEY"),
}


def client(endpoint: str | None = None) -> Any:
    """boto3's client, which tries again what may pass (throttling, 5xx, broken connections).

    Args:
        endpoint: address of the server; None = the environment's, else Amazon's.

    Raises:
        UserError: ``AWS_PROFILE`` names no profile, or the endpoint is no address.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    retries: Any = {"mode": "standard", "total_max_attempts": 5}
    config = Config(retries=retries, connect_timeout=10, read_timeout=60)
    try:
        return boto3.client("s3", config=config, endpoint_url=endpoint)
    except (BotoCoreError, ValueError) as error:
        raise UserError(
            f"no S3 client can be made: {error}", "check AWS_PROFILE, AWS_ENDPOINT_URL_S3 and AWS_DEFAULT_REGION"
        ) from error


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``."""
    bucket, key = split_prefix(uri)
    if not key:
        raise UserError(f"{uri!r} is no address of an object", "write it as s3://bucket/key")
    return bucket, key


def split_prefix(uri: str) -> tuple[str, str]:
    """Bucket and prefix, which may be empty, of ``s3://bucket/prefix``."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise UserError(f"{uri!r} is no address in S3", "write it as s3://bucket/key")
    return parts.netloc, parts.path.lstrip("/")


def encryption() -> dict[str, str]:
    """What an upload says of how the server is to encrypt the object; empty = as the bucket's default says.

    Raises:
        UserError: the environment asks for what S3 does not have.
    """
    algorithm, key = os.environ.get(SSE, ""), os.environ.get(KMS_KEY, "")
    if algorithm and algorithm not in ENCRYPTIONS:
        raise UserError(f"{SSE} is {algorithm!r}; {did_you_mean(algorithm, ENCRYPTIONS)}", "correct it, or unset it")
    if key and not algorithm.startswith("aws:kms"):
        raise UserError(f"{KMS_KEY} is set, but {SSE} is not aws:kms", f"export {SSE}=aws:kms, or unset {KMS_KEY}")
    asked = {"ServerSideEncryption": algorithm, "SSEKMSKeyId": key}
    return {name: value for name, value in asked.items() if value}


def upload(file: Path, uri: str, endpoint: str | None = None) -> str:
    """Copy ``file`` to ``uri`` and return its SHA-256 (hex), which is stored with it.

    Raises:
        UserError: the file is missing, or S3 cannot be reached or refuses.
    """
    from boto3.s3.transfer import TransferConfig

    if not file.is_file():
        raise UserError(f"no file {file} to upload", "check the path")
    digest = sha256_of(file)
    bucket, key = split(uri)
    extra = {"Metadata": {SHA256: digest}, "ChecksumAlgorithm": "SHA256", **encryption()}
    parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    with explained(uri):
        client(endpoint).upload_file(str(file), bucket, key, ExtraArgs=extra, Config=parts)
    return digest


def download(uri: str, file: Path, sha256: str | None = None, endpoint: str | None = None) -> str:
    """Copy ``uri`` to ``file``, which appears only when it is whole, and return its SHA-256 (hex).

    Args:
        sha256: what the file must be; None takes the hash that :func:`upload` stored with it, if there is one.

    Raises:
        UserError: S3 cannot be reached or refuses, the disk cannot be written to, or the content is not what it must
            be; then ``file`` is left as it was.
    """
    bucket, key = split(uri)
    part = file.with_name(file.name + ".part")
    try:
        with explained(uri):
            s3 = client(endpoint)
            stored = s3.head_object(Bucket=bucket, Key=key).get("Metadata", {}).get(SHA256)
            file.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, key, str(part))
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


def delete(uri: str, endpoint: str | None = None) -> None:
    """Remove ``uri``.

    Raises:
        UserError: S3 cannot be reached or refuses.
    """
    bucket, key = split(uri)
    with explained(uri):
        client(endpoint).delete_object(Bucket=bucket, Key=key)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what boto3 raises about ``uri`` into a :class:`UserError`."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        NoCredentialsError,
        PartialCredentialsError,
    )

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
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise UserError(f"no credentials for {uri}", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except EndpointConnectionError as error:
        raise UserError(f"no S3 server answers for {uri}: {error}", "check AWS_ENDPOINT_URL_S3") from error
    except (BotoCoreError, OSError) as error:
        raise UserError(
            f"{uri} could not be copied: {error}", "check the network and the disk, then try again"
        ) from error
