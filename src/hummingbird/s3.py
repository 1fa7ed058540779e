"""What speaking S3 takes (``s3://bucket/key``): a client, addresses, and errors in words.

The server and the credentials come from the environment as boto3 reads it (``AWS_ENDPOINT_URL_S3``,
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from hummingbird.errors import UserError

SHA256 = "sha256"  # name of the user metadata that holds an object's hash
REASONS = {  # S3's error code -> what it means to a user, and what to do
    "404": ("is not there", "check the bucket and the key"),
    "NoSuchKey": ("is not there", "check the bucket and the key"),
    "NoSuchBucket": ("lies in a bucket that does not exist", "check the bucket's name, or make it"),
    "403": ("may not be accessed", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the bucket's policy"),
    "AccessDenied": ("may not be accessed", "check the bucket's policy"),
    "InvalidAccessKeyId": ("may not be accessed: unknown access key", "check AWS_ACCESS_KEY_ID"),
    "SignatureDoesNotMatch": ("may not be accessed: wrong secret", "check AWS_SECRET_ACCESS_KEY"),
}


def client() -> Any:
    import boto3
    from botocore.config import Config

    retries: Any = {"mode": "standard", "total_max_attempts": 5}
    return boto3.client("s3", config=Config(retries=retries, connect_timeout=10, read_timeout=60))


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``."""
    parts = urlsplit(uri)
    key = parts.path.lstrip("/")
    if parts.scheme != "s3" or not parts.netloc or not key:
        raise UserError(f"{uri!r} is no address of an object", "write it as s3://bucket/key")
    return parts.netloc, key


@contextmanager
def explained(uri: str) -> Iterator[None]:
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
