"""Sends to MLflow what the outbox holds. Everything may be sent twice, so a process may be killed at any point of it:

* a run is found again by its tag ``hummingbird.run_key``; of two with one key, the older one stays;
* MLflow keeps one metric of equal name, step, time and value; a parameter, a tag or a data set that it has already is
  the same afterwards, and an artifact takes the place of the one at its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hummingbird.errors import UserError
from hummingbird.files import read_json
from hummingbird.ops import outage
from hummingbird.ops.outbox import Entry, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

KEY = "hummingbird.run_key"
PARENT_KEY = "hummingbird.parent_run_key"
BY_KEY = "key:"  # before the key of a parent that had no id yet when its child began
BATCH = 1000  # metrics of a request, MLflow's own limit
SEVERAL = {"metrics", "params", "tags", "inputs"}  # kinds of record that hold any number of values
HOPELESS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}  # the same answer for ever


class ParentMissingError(Exception):
    """The parent of a run waits in the outbox itself; the run can be sent once MLflow knows its parent."""


class StoreAwayError(Exception):
    """The store of artifacts, which is another server than MLflow's own, takes none now."""


def find_runs(client: MlflowClient, experiment: str, key: str) -> list[str]:
    """Ids of the runs with a key, oldest first. There is one at most, unless a request to make it was repeated."""
    runs = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'")
    return [str(run.info.run_id) for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))]


def deliver(
    client: MlflowClient,
    experiment: str,
    entry: Entry,
    *,
    new: bool = False,
    files: bool = True,
    besides: Iterable[Record] = (),
) -> None:
    """Send all that ``entry`` holds, and how the run ended if it has; then nothing of it is left in the outbox.

    Args:
        new: no other attempt was made, so that MLflow cannot know the run.
        files: whether to send artifacts; False leaves them for another time.
        besides: records that the disk did not take.

    Raises:
        StoreAwayError: all is sent but artifacts, whose store is away.
        Exception: whatever else MLflow's client or the store raise; what was not sent waits for the next attempt.
    """
    from mlflow.exceptions import MlflowException

    try:
        _deliver(client, experiment, entry, new, files, besides)
    except MlflowException as error:
        if _is_lost(error):  # the server no longer has the run: make it again next time
            entry.know(run_id=None)
        raise


def _deliver(
    client: MlflowClient, experiment: str, entry: Entry, new: bool, files: bool, besides: Iterable[Record]
) -> None:
    run_id = entry.run_id or _make_run(client, experiment, entry, new)
    for record, position in _requests(entry.unsent()):
        _send(client, run_id, entry, record)
        entry.mark_sent(position)
    for record in besides:
        _send(client, run_id, entry, record)
    left = _send_files(client, run_id, entry) if files else StoreAwayError("the store of artifacts is away")
    if ended := entry.who.get("ended"):
        _send(client, run_id, entry, {"ended": ended})
    if left is not None and entry.files():
        raise left
    if ended:
        for double in find_runs(client, experiment, entry.key):
            if double != run_id:
                client.delete_run(double)
        entry.remove()


def _make_run(client: MlflowClient, experiment: str, entry: Entry, new: bool) -> str:
    who = entry.who
    found = [] if new and not who.get("shared") else find_runs(client, experiment, entry.key)
    if not found:
        tags = {**who["tags"], KEY: entry.key, **_parent_tags(client, experiment, entry)}
        run = client.create_run(experiment, start_time=who["start"], tags=tags, run_name=who["name"])
        found = [str(run.info.run_id)]
    with suppress(OSError, UserError):  # a full disk: it is found again by its key
        entry.know(run_id=found[0])
    return found[0]


def _parent_tags(client: MlflowClient, experiment: str, entry: Entry) -> dict[str, str]:
    parent = entry.who.get("parent")
    if not parent:
        return {}
    if not parent.startswith(BY_KEY):
        return {"mlflow.parentRunId": parent}
    key = parent.removeprefix(BY_KEY)
    known = find_runs(client, experiment, key)
    if known:
        return {"mlflow.parentRunId": known[0], PARENT_KEY: key}
    others = (read_json(folder / "run.json") for folder in sorted(entry.folder.parent.glob("[!.]*")))
    if any(other.get("key") == key for other in others):
        raise ParentMissingError(f"the parent of run {entry.who['name']} is not recorded yet")
    return {PARENT_KEY: key}  # its record is lost; the child's need not be


def _requests(unsent: list[tuple[Record, int]]) -> Iterator[tuple[Record, int]]:
    """Metrics of consecutive records as one, up to MLflow's limit; any other record as it is."""
    for only_metrics, group in groupby(unsent, key=lambda item: set(item[0]) == {"metrics"}):
        if not only_metrics:
            yield from group
            continue
        metrics: list[Any] = []
        end = 0
        for record, position in group:
            if metrics and len(metrics) + len(record["metrics"]) > BATCH:
                yield {"metrics": metrics}, end
                metrics = []
            metrics, end = metrics + record["metrics"], position
        yield {"metrics": metrics}, end


def _send(client: MlflowClient, run_id: str, entry: Entry, record: Record) -> None:
    from mlflow.exceptions import MlflowException

    try:
        _tell(client, run_id, record)
    except MlflowException as error:
        if not _is_hopeless(error, record):
            raise
        halves = _halves(record)
        for half in halves:
            _send(client, run_id, entry, half)
        if not halves:
            entry.refuse(record, str(error))


def _halves(record: Record) -> list[Record]:
    """Two records in place of one of several values, of which one that is bad must not take the others with it."""
    ((kind, values),) = record.items()
    if kind not in SEVERAL or len(values) < 2:
        return []
    middle = len(values) // 2
    if isinstance(values, list):
        return [{kind: values[:middle]}, {kind: values[middle:]}]
    items = list(values.items())
    return [{kind: dict(items[:middle])}, {kind: dict(items[middle:])}]


def _is_lost(error: MlflowException) -> bool:
    return error.error_code == "RESOURCE_DOES_NOT_EXIST"


def _is_hopeless(error: MlflowException, record: Record) -> bool:
    missing = error.error_code == "ENDPOINT_NOT_FOUND" and "inputs" in record  # an older server
    return missing or error.error_code in HOPELESS


def _tell(client: MlflowClient, run_id: str, record: Record) -> None:
    if "ended" in record:
        client.set_terminated(run_id, status=record["ended"]["status"], end_time=record["ended"]["at"])
    elif "status" in record:
        client.update_run(run_id, status=record["status"])
    elif "inputs" in record:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        read = [InputTag("mlflow.data.context", "input")]
        client.log_inputs(run_id, [DatasetInput(Dataset(**dataset), read) for dataset in record["inputs"]])
    else:
        from mlflow.entities import Metric, Param, RunTag

        client.log_batch(
            run_id,
            metrics=[Metric(*metric) for metric in record.get("metrics", ())],
            params=[Param(*param) for param in record.get("params", {}).items()],
            tags=[RunTag(*tag) for tag in record.get("tags", {}).items()],
        )


def _send_files(client: MlflowClient, run_id: str, entry: Entry) -> Exception | None:
    """Send every artifact that can be sent; if the store is away, it is not asked for each of them. An artifact that it
    will never take is put aside.

    Returns:
        What kept the rest from being sent, which the rest of the record need not wait for.
    """
    from mlflow.exceptions import MlflowException

    failure: Exception | None = None
    for file, where in entry.files():
        seen = file.stat()
        parent = Path(where).parent.as_posix()
        try:
            client.log_artifact(run_id, str(file), artifact_path=None if parent == "." else parent)
        except Exception as error:  # of MLflow, requests, boto3 or another client of a store
            if isinstance(error, MlflowException) and _is_lost(error):
                raise
            if outage.is_refusal(error):
                entry.refuse_file(file, seen, where, str(error))
            elif outage.is_away(error):
                return StoreAwayError(f"the store of artifacts does not take {where}: {error}")
            else:
                failure = error
        else:
            entry.forget(file, seen)
    return failure
