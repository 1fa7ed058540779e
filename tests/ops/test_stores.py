"""What becomes of a run's record where MLflow or the store of its artifacts is there, and sick or unwilling."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, EndpointConnectionError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from hummingbird.files import read_json, write_json
from hummingbird.layout import Layout
from hummingbird.ops import outage, outbox, recording, server, syncing, tracking
from hummingbird.ops.delivery import StoreAwayError, deliver
from hummingbird.ops.dvc_project import remote_url
from hummingbird.ops.runner import run_stage
from hummingbird.ops.server import connect
from hummingbird.ops.syncing import outlook, sync


def left_behind(root: Path, name: str, files: int = 0) -> outbox.Entry:
    """The entry, held no more, of a run that ended in the dark."""
    uri = server.shown(server.tracking_uri(root))
    who = {"key": f"key-of-{name}", "name": name, "tags": {}, "start": 5, "parent": None, "uri": uri}
    entry = outbox.open_entry(root, who)
    for number in range(files):
        (root / "file").write_text(str(number))
        entry.put(root / "file", f"{number}.txt")
    entry.know(ended={"status": "FINISHED", "at": 9})
    entry.release()
    return entry


def the_run(connection: Any, name: str) -> Any:
    (run,) = [run for run in connection[0].search_runs([connection[1]]) if run.info.run_name == name]
    return run


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": int(code)}}, "PutObject")


def of_requests(status: int) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status
    return requests.HTTPError(f"status {status}", response=answer)


def wrapped(cause: Exception) -> Exception:
    """As boto3 and MLflow pass on what is under them."""
    try:
        raise cause
    except Exception:
        try:
            raise S3UploadFailedError("failed")
        except S3UploadFailedError as error:
            return error


@pytest.mark.parametrize(
    ("error", "away", "refusal"),
    [
        (requests.ConnectionError("refused"), True, False),
        (wrapped(EndpointConnectionError(endpoint_url="http://store")), True, False),
        (of_requests(503), True, False),
        (wrapped(refused("500")), True, False),
        (wrapped(refused("403")), True, False),
        (of_requests(413), False, True),
        (wrapped(refused("400")), False, True),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "name"}), False, True),
        (MlflowException("of whatever kind"), True, False),
        (PermissionError("a file here"), False, False),
        (ValueError("a mistake of ours"), False, False),
    ],
)
def test_errors_are_told_apart(error: Exception, away: bool, refusal: bool) -> None:
    assert (outage.is_away(error), outage.is_refusal(error)) == (away, refusal)


def test_a_store_that_is_away_is_asked_once_and_holds_up_no_record(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def log_artifact(self: Any, run_id: str, file: str, artifact_path: str | None = None) -> None:
        asked.append(file)
        raise requests.ConnectionError("the store is away")

    connection = connect(root)
    for name in ("one", "two"):
        left_behind(root, name, files=3)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_artifact", log_artifact)
        done = sync(root, connection)
    assert len(asked) == 1
    assert set(done.failed) == {"one", "two"}
    assert [the_run(connection, name).info.status for name in ("one", "two")] == ["FINISHED"] * 2
    assert sync(root, connection).sent == ["one", "two"]
    run = the_run(connection, "two").info.run_id
    assert [item.path for item in connection[0].list_artifacts(run)] == ["0.txt", "1.txt", "2.txt"]


def test_an_artifact_that_the_store_never_takes_is_put_aside(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = MlflowClient.log_artifact

    def log_artifact(self: Any, run_id: str, file: str, artifact_path: str | None = None) -> None:
        if file.endswith("1.txt"):
            raise of_requests(413)
        really(self, run_id, file, artifact_path)

    connection = connect(root)
    left_behind(root, "large", files=3)
    monkeypatch.setattr(MlflowClient, "log_artifact", log_artifact)
    assert sync(root, connection).sent == ["large"]
    items = connection[0].list_artifacts(the_run(connection, "large").info.run_id)
    assert [item.path for item in items] == ["0.txt", "2.txt"]
    (line,) = outlook(root)
    noted = json.loads(Path(line.partition("see ")[2]).read_text())
    assert (noted["artifact"], noted["reason"], Path(noted["file"]).read_text()) == ("1.txt", "status 413", "1")


def test_what_others_left_holds_up_no_stage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_behind(root, "before")
    begun, may_end = threading.Event(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> syncing.Synced:
        begun.set()
        assert may_end.wait(60), "the stage waits for it"
        return sync(*args, **kwargs)

    monkeypatch.setattr(recording, "sync", slow)
    with tracking.single_run(root, "now", {}, {}):
        assert begun.wait(60)
        assert outlook(root)
        may_end.set()
    assert outlook(root) == []


def test_a_run_that_the_server_lost_is_made_again_if_only_its_files_and_end_are_left(root: Path) -> None:
    connection = connect(root)
    entry = left_behind(root, "lost", files=1)
    entry.know(run_id="0" * 32)
    assert "lost" in sync(root, connection).failed
    assert sync(root, connection).sent == ["lost"]
    assert the_run(connection, "lost").info.status == "FINISHED"


def test_the_end_of_a_run_that_was_deleted_is_put_aside(root: Path) -> None:
    connection = client, experiment = connect(root)
    entry = left_behind(root, "deleted")
    run = client.create_run(experiment)
    client.delete_run(run.info.run_id)
    entry.know(run_id=run.info.run_id)
    assert sync(root, connection).sent == ["deleted"]
    assert "refused" in outlook(root)[0]


def test_one_bad_parameter_or_tag_does_not_take_the_others_with_it(root: Path) -> None:
    with tracking.single_run(root, "bad", {f"p{n}": n for n in range(9)} | {"no such: name?!": 1}, {}) as log:
        log.run.say({"tags": {**{f"t{n}": "1" for n in range(4)}, "no such: name?!": "1"}})
    data = the_run(connect(root), "bad").data
    assert data.params == {f"p{n}": str(n) for n in range(9)}
    assert {name for name in data.tags if name.startswith("t")} == {f"t{n}" for n in range(4)}


@pytest.fixture
def sick(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that the project knows, which says its version and fails at everything else, as with a dead database."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/version" else 500)
            self.end_headers()
            self.wfile.write(b"3.1.0" if self.path == "/version" else b'{"error_code": "INTERNAL_ERROR"}')

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *args: Any) -> None: ...

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with HTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{other.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        write_json(root / ".work/tracking.json", {"answered": [uri]})
        yield
        other.shutdown()


@pytest.mark.usefixtures("sick")
def test_a_sick_mlflow_stops_no_stage(
    root: Path, install: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(lambda params, layout, log: {"answer": 42.0})
    with tracking.pipeline_run(root, "flow") as parent:
        assert run_stage("toy", root)["answer"] == 42.0
        tracking.log_restored(Layout(root), "toy", parent)
    assert "does not answer" in capsys.readouterr().err
    assert len(outlook(root)) == 3


def test_a_producer_that_cannot_be_looked_up_is_named_by_its_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RestException({"error_code": "INTERNAL_ERROR", "message": "sick"})

    monkeypatch.setattr(tracking, "find_runs", fail)
    assert tracking._producer(root, {"run_key": "k"}) == {"producer_run_id": "unknown", "producer_run_key": "k"}


def test_a_run_of_another_machine_is_left_alone_while_it_gives_signs_of_life(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = left_behind(root, "abroad").folder
    write_json(folder / "run.json", read_json(folder / "run.json") | {"host": "another"})
    assert outbox.take_over(folder) is None
    assert "on another" in outlook(root)[0]
    monkeypatch.setattr(outbox, "ABROAD", 0.0)
    entry = outbox.take_over(folder)
    assert entry is not None
    entry.release()


def test_no_thread_sends_while_time_is_measured(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "SEND_EVERY", 0.001)

    def threads() -> int:
        return sum(thread.name == "recording" for thread in threading.enumerate())

    with tracking.pipeline_run(root, "flow"), tracking.single_run(root, "latency", {}, {}) as log:
        assert threads() == 2
        with recording.silence():
            assert threads() == 0
            log.metrics({"median_s": 1.0}, 1)
        assert threads() == 2
    assert the_run(connect(root), "latency").data.metrics == {"median_s": 1.0}


def test_a_stage_that_runs_alone_is_measured_in_silence(
    root: Path, install: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("hummingbird.ops.runner._measures_time", lambda root, name: True)
    install(lambda params, layout, log: seen.append([it.name for it in threading.enumerate()]) or {})
    run_stage("toy", root)
    assert not {"recording", "machine"} & set(seen[0])


def test_a_password_in_the_address_of_the_remote_goes_nowhere(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(
        "[core]\n    remote = store\n['remote \"store\"']\n    url = https://me:secret@host/dvc\n"
    )
    assert remote_url(tmp_path) == "https://host/dvc"


def test_a_store_known_to_be_away_is_not_asked(root: Path) -> None:
    connection = connect(root)
    left_behind(root, "knows", files=1)
    (folder,) = outbox.folders(root)
    entry = outbox.take_over(folder)
    assert entry is not None
    with pytest.raises(StoreAwayError):
        deliver(*connection, entry, files=False)
    entry.remove()
