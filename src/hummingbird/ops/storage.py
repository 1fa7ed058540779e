"""Files in S3 or anything that speaks its protocol (``s3://bucket/key``), each checked by its SHA-256.

The server and the credentials come from the environment as boto3 reads it (``AWS_ENDPOINT_URL_S3``,
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ...).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hummingbird import s3
from hummingbird.errors import UserError


def upload(file: Path, uri: str) -> str:
    """Copy ``file`` to ``uri`` and return its SHA-256 (hex), which is stored with it.

    Raises:
        UserError: the file is missing, or S3 cannot be reached or refuses.
    """
    if not file.is_file():
        raise UserError(f"no file {file} to upload", "check the path")
    digest = sha256_of(file)
    bucket, key = s3.split(uri)
    with s3.explained(uri):
        s3.client().upload_file(str(file), bucket, key, ExtraArgs={"Metadata": {s3.SHA256: digest}})
    return digest


def download(uri: str, file: Path, sha256: str | None = None) -> str:
    """Copy ``uri`` to ``file``, which appears only when it is whole, and return its SHA-256 (hex).

    Args:
        sha256: what the file must be; None takes the hash that :func:`upload` stored with it, if there is one.

    Raises:
        UserError: S3 cannot be reached or refuses, the disk cannot be written to, or the content is not what it must
            be; then ``file`` is left as it was.
    """
    bucket, key = s3.split(uri)
    part = file.with_name(file.name + ".part")
    try:
        with s3.explained(uri):
            client = s3.client()
            stored = client.head_object(Bucket=bucket, Key=key).get("Metadata", {}).get(s3.SHA256)
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
