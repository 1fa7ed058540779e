"""One URL for all that the project keeps off this machine: DVC's remote and MLflow's artifacts, in one bucket.

DVC's remote goes into ``.dvc/config``, which is committed; credentials stay in the environment. MLflow fixes the place
of an experiment's artifacts when the experiment is made, or leaves it to the server, so what can be done depends on
what is there.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hummingbird import storage
from hummingbird.errors import UserError
from hummingbird.ops import server

REMOTE = "storage"  # name of DVC's remote


@dataclass(frozen=True)
class Place:
    """``url`` is ``s3://bucket/prefix``; ``endpoint`` the server's address (None = Amazon's), ``sse`` and ``kms_key``
    how it is to encrypt."""

    url: str
    endpoint: str | None = None
    sse: str | None = None
    kms_key: str | None = None

    def below(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def environment(self) -> dict[str, str]:
        """What processes that write there must find in their environment, besides the credentials."""
        extra = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.kms_key}
        encrypted = json.dumps({name: value for name, value in extra.items() if value}) if self.sse else None
        found = {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
            "MLFLOW_S3_UPLOAD_EXTRA_ARGS": encrypted,
            storage.SSE: self.sse,
            storage.KMS_KEY: self.kms_key,
        }
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Prepared:
    """Where DVC pushes to, where MLflow puts artifacts, what is to be done about the latter (empty = nothing), and the
    variables to export."""

    dvc: str
    mlflow: str
    note: str
    environment: dict[str, str]


def prepare(place: Place, root: Path, *, create: bool = False) -> Prepared:
    """Make the project in ``root`` keep its data and artifacts at ``place``. Can be repeated.

    Args:
        create: make the bucket if it does not exist.

    Raises:
        UserError: ``place`` cannot be written to, read from or deleted from, MLflow does not answer or does not let us
            in, or ``root`` is no DVC project; then nothing was changed but that the bucket may have been made.
    """
    bucket, _ = storage.split_prefix(place.url)
    os.environ.update(place.environment())  # for the probe, and for MLflow below
    server.check_server(server.tracking_uri(root))
    with _remote_set(place, root):
        if create:
            _create(bucket, place)
        _probe(place)
        with server.explained(server.tracking_uri(root)):
            location, note = _set_artifacts(place, root)
    return Prepared(place.below("dvc"), location, note, place.environment())


def _create(bucket: str, place: Place) -> None:
    client = storage.client(place.endpoint)
    with storage.explained(f"s3://{bucket}"):
        if bucket in {entry["Name"] for entry in client.list_buckets().get("Buckets", [])}:
            return
        region = client.meta.region_name
        elsewhere = {} if region in (None, "us-east-1", "aws-global") else {"LocationConstraint": region}
        client.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": elsewhere} if elsewhere else {}))


def _probe(place: Place) -> None:
    """Write, read and delete a small object."""
    uri, word = place.below(f".probe-{uuid.uuid4().hex}"), uuid.uuid4().bytes
    bucket, key = storage.split(uri)
    client = storage.client(place.endpoint)
    with storage.explained(uri):
        client.put_object(Bucket=bucket, Key=key, Body=word, **storage.encryption())
        try:
            same = client.get_object(Bucket=bucket, Key=key)["Body"].read() == word
        finally:
            client.delete_object(Bucket=bucket, Key=key)
    if not same:
        raise UserError(f"{place.url} gives back other bytes than were written", "ask who runs the server")


@contextmanager
def _remote_set(place: Place, root: Path) -> Iterator[None]:
    """Within it, DVC's settings are known to be readable; they are written at its end, if nothing went wrong in it."""
    from dvc.config import ConfigError
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    asked = {"endpointurl": place.endpoint, "sse": place.sse, "sse_kms_key_id": place.kms_key}
    remote = {"url": place.below("dvc"), **{name: value for name, value in asked.items() if value}}
    try:
        with Repo(str(root)) as repo, repo.config.edit("repo") as config:
            config.setdefault("core", {})["remote"] = REMOTE
            config.setdefault("remote", {})[REMOTE] = remote
            yield
    except NotDvcRepoError as error:
        raise UserError(f"{root.resolve()} is no DVC project", "run from the project folder") from error
    except (ConfigError, DvcException) as error:
        raise UserError(f"DVC's settings cannot be changed: {error}", "mend .dvc/config, then run again") from error


def _set_artifacts(place: Place, root: Path) -> tuple[str, str]:
    """Where the project's experiment keeps its artifacts, and what the user has to do to have them at ``place``."""
    wanted = place.below("mlflow")
    client = server.client_of(root)
    experiment = client.get_experiment_by_name(server.EXPERIMENT)
    if experiment is not None and experiment.artifact_location.startswith(wanted):
        return str(experiment.artifact_location), ""
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        now = experiment.artifact_location if experiment else "wherever the server puts it"
        return now, f"MLflow's server decides: start it with --artifacts-destination {wanted}"
    if experiment is not None:
        note = (
            f"MLflow's experiment {server.EXPERIMENT!r} was made before and keeps its artifacts where they are; "
            f"a new mlflow.db, or a server with --artifacts-destination {wanted}, would put them there"
        )
        return str(experiment.artifact_location), note
    client.create_experiment(server.EXPERIMENT, artifact_location=wanted)
    return wanted, ""
