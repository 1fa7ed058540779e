"""The registry on the tracking server: versions, aliases and the ledger, with errors in words."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hummingbird.errors import UserError, did_you_mean
from hummingbird.ops import server
from hummingbird.ops.checkout import git_tags
from hummingbird.ops.registry import evidence, ledger
from hummingbird.ops.registry.evidence import Evidence
from hummingbird.ops.registry.ledger import Entry, Standing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

T = TypeVar("T")
NAME = "hummingbird"
LEDGER = "{name}-promotions"
PIPELINE = "artifacts/pipeline"  # where a version keeps its pipeline folder
REPORT = "promotion"  # folder of a promotion's report in its run
_TRIES = 8  # of a request that lost to another one in the server's database
_PAGE = 1000


class Registry:
    """One registered model and its ledger.

    Args:
        root: the project folder, whose tracking server is used.
        name: the registered model.

    Raises:
        UserError: the server does not answer, or refuses.
    """

    def __init__(self, root: Path = Path(), name: str = NAME) -> None:
        self.root = root
        self.name = name
        self.ledger = LEDGER.format(name=name)
        self.uri = server.tracking_uri(root)
        with explained(self.uri):
            connected = server.connect(root)
            self.client: MlflowClient = connected[0]
            self.experiment: str = connected[1]

    # versions ----------------------------------------------------------------------------------------------
    def versions(self) -> list[ModelVersion]:
        """All versions, the newest first."""
        return self._all_versions(self.name)

    def version(self, number: int) -> ModelVersion:
        """One version.

        Raises:
            UserError: there is no such version.
        """
        known = {int(version.version): version for version in self.versions()}
        if number not in known:
            if not known:
                raise UserError(
                    f"no model {self.name} is registered at {server.shown(self.uri)}", "hummingbird register"
                )
            raise UserError(
                f"{self.name} has no version {number}; {did_you_mean(str(number), map(str, known))}",
                "see all: hummingbird registry list",
            )
        return known[number]

    def evidence(self, number: int) -> Evidence | None:
        """What a version's tags say of it; None if that is incomplete."""
        return evidence.from_tags(self.version(number).tags)

    def exists(self, number: int) -> bool:
        """Whether there is such a version (and it was not deleted)."""
        return any(int(version.version) == number for version in self.versions())

    def check_files(self, number: int) -> None:
        """See that the files of a version are where it says, as many and as large as when it was registered.

        Raises:
            UserError: some or all are gone.
        """
        from mlflow.artifacts import list_artifacts

        version = self.version(number)
        with explained(self.uri):
            where = self.client.get_model_version_download_uri(self.name, str(number))
        known = evidence.from_tags(version.tags)
        try:
            names = {Path(item.path).name for item in list_artifacts(where, tracking_uri=self.uri)}
            sizes = _sizes(where, PIPELINE, self.uri) if known else []
        except Exception as error:  # each kind of storage has its own
            raise self._gone(number, where, f"they cannot be read: {error}") from error
        if "MLmodel" not in names:
            raise self._gone(number, where, "there is no MLmodel")
        if known and (len(sizes), sum(sizes)) != (known.files.count, known.files.size):
            found = f"{len(sizes)} files of {sum(sizes)} bytes"
            raise self._gone(number, where, f"{found}, where {known.files.count} of {known.files.size} were registered")

    def _gone(self, number: int, where: str, what: str) -> UserError:
        return UserError(
            f"the files of version {number} of {self.name} are not where the registry says, {server.shown(where)}: "
            f"{what}",
            "restore them from a backup of the artifact store, or make the version again: hummingbird register",
        )

    # aliases -----------------------------------------------------------------------------------------------
    def aliases(self) -> dict[str, int]:
        """The versions that the aliases name now, whatever the ledger says."""
        with explained(self.uri):
            found = self.client.search_registered_models(f"name = '{self.name}'")
        return {alias: int(version) for alias, version in found[0].aliases.items()} if found else {}

    def alias(self, alias: str) -> int | None:
        """The version that ``alias`` names now; None if it names none."""
        return self.aliases().get(alias)

    def set_alias(self, alias: str, number: int) -> None:
        """Make ``alias`` name a version."""
        with explained(self.uri):
            _persist(lambda: self.client.set_registered_model_alias(self.name, alias, str(number)))

    # ledger ------------------------------------------------------------------------------------------------
    def entries(self) -> list[Entry]:
        """The ledger, oldest entry first."""
        read = [
            ledger.from_tags(int(version.version), version.tags, version.run_id)
            for version in self._all_versions(self.ledger)
        ]
        return sorted((entry for entry in read if entry), key=lambda entry: entry.number)

    def standing(self, alias: str) -> Standing:
        """What the ledger says of ``alias``."""
        return ledger.fold(self.entries(), alias)

    def append(self, entry: Entry, report: Mapping[str, Any]) -> Entry:
        """Add an entry, with its report as an artifact of a run of its own. Returns it with its number.

        That it was added does not say that it counts: ask :meth:`standing`.
        """
        with explained(self.uri):
            self._create_ledger()
            tags = {"hummingbird.kind": entry.action, **git_tags(self.root)}
            name = f"{entry.action} version {entry.after} ({entry.alias})"
            run_id = str(self.client.create_run(self.experiment, run_name=name, tags=tags).info.run_id)
            document = {**ledger.to_tags(entry), **report}
            self.client.log_dict(run_id, document, f"{REPORT}/report.json")
            self.client.set_terminated(run_id)
            source = f"runs:/{run_id}/{REPORT}"
            made = _persist(
                lambda: self.client.create_model_version(self.ledger, source, run_id, tags=ledger.to_tags(entry))
            )
        return replace(entry, number=int(made.version), run_id=run_id)

    def mark(self, entry: Entry, name: str, value: str) -> None:
        """Note on an entry what became of it. A note for readers and for :func:`settle`; what counts is the order."""
        with explained(self.uri):
            _persist(lambda: self.client.set_model_version_tag(self.ledger, str(entry.number), name, value))

    def _create_ledger(self) -> None:
        from mlflow.exceptions import MlflowException

        if self.client.search_registered_models(f"name = '{self.ledger}'"):
            return
        text = f"Who moved which alias of {self.name}, when and why. Read it with: hummingbird registry log"
        try:
            self.client.create_registered_model(self.ledger, description=text)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # made by another one meanwhile
                raise

    def _all_versions(self, name: str) -> list[ModelVersion]:
        found: list[ModelVersion] = []
        token: str | None = None
        with explained(self.uri):
            while True:
                page = self.client.search_model_versions(f"name = '{name}'", max_results=_PAGE, page_token=token)
                found += page
                token = page.token
                if not token:
                    return sorted(found, key=lambda version: -int(version.version))


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn errors of MLflow and of the connection into :class:`UserError`."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, ConnectionError) as error:
        raise UserError(
            f"the registry at {server.shown(uri)} did not do what was asked: {error}",
            "see that the server runs; then: hummingbird registry list shows where things stand, and finishes a move "
            "that was begun",
        ) from error


def _persist(request: Callable[[], T]) -> T:
    """Make a request again if it met another one in the server's database."""
    from mlflow.exceptions import MlflowException

    for attempt in range(_TRIES):
        try:
            return request()
        except MlflowException as error:
            if attempt == _TRIES - 1 or not _is_collision(error):
                raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
    raise AssertionError("unreachable")


def _is_collision(error: Any) -> bool:
    text = str(error)
    return "locked" in text or "Model Version creation error" in text


def _sizes(where: str, path: str, uri: str) -> list[int]:
    """Bytes of each file below a folder of an artifact store."""
    from mlflow.artifacts import list_artifacts

    sizes: list[int] = []
    for item in list_artifacts(f"{where.rstrip('/')}/{path}", tracking_uri=uri):
        sizes += _sizes(where, f"{path}/{Path(item.path).name}", uri) if item.is_dir else [int(item.file_size or 0)]
    return sizes
