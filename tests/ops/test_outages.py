"""What becomes of a run's record when the server goes away, the process is killed or the disk is full."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hummingbird.cli import app
from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.layout import Layout
from hummingbird.ops import outbox, outputs, recording, server, tracking
from hummingbird.ops.delivery import KEY, deliver, find_runs
from hummingbird.ops.recording import Recording
from hummingbird.ops.runner import run_stage
from hummingbird.ops.server import connect
from hummingbird.ops.stagelog import StageLog
from hummingbird.ops.syncing import outlook, sync

Connection = tuple[Any, str]


def history(client: Any, run_id: str, name: str = "loss") -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))


def artifacts(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    return {item.path for item in client.list_artifacts(run_id, folder)}


def the_run(connection: Connection, name: str) -> Any:
    (run,) = [run for run in connection[0].search_runs([connection[1]]) if run.info.run_name == name]
    return run


def record_a_bit(log: StageLog, step: int, file: Path) -> None:
    log.metrics({"loss": 1.0 / step}, step)
    log.image("sheet", np.zeros((4, 4, 3), np.uint8), step)
    file.write_text(f"as of step {step}")
    log.artifact(file)


def test_an_outage_in_mid_run_loses_and_doubles_nothing(
    root: Path, served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking.single_run(root, "mid-run outage", {"seed": 1}, {}) as log:
        record_a_bit(log, 1, root / "state.txt")
        assert log.run.send()
        served.stop()
        for step in (2, 3):
            record_a_bit(log, step, root / "state.txt")
            assert not log.run.send()
        served.start()
        log.metrics({"loss": 0.25}, 4)
        assert log.run.send()
        log.metrics({"loss": 0.2}, 5)
    assert outlook(root) == []
    client, _ = connection = connect(root)
    run = the_run(connection, "mid-run outage")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "1"}
    assert history(client, run.info.run_id) == [(1, 1.0), (2, 0.5), (3, 1.0 / 3), (4, 0.25), (5, 0.2)]
    assert artifacts(client, run.info.run_id) == {"images", "state.txt"}
    assert len(artifacts(client, run.info.run_id, "images")) == 6
    assert Path(client.download_artifacts(run.info.run_id, "state.txt")).read_text() == "as of step 3"
    assert capsys.readouterr().err.count("warning") == 1


def test_runs_of_a_dead_server_are_made_later_as_they_were(
    root: Path, served: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.stop()
    with (
        tracking.pipeline_run(root, "dark flow") as parent,
        tracking.recording(root, "dark stage", {"stage": "toy"}, parent) as child,
    ):
        StageLog(child).metrics({"loss": 2.0}, 1)
        began = recording.now()
        assert child.run_id is None
        time.sleep(0.05)
    ended = recording.now()
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "hummingbird track sync" in said
    assert [line.partition(":")[0] for line in outlook(root)] == ["dark flow", "dark stage"]
    with pytest.raises(UserError, match="does not answer"):
        connect(root)
    served.start()
    connection = connect(root)
    monkeypatch.chdir(root)
    told = CliRunner().invoke(app, ["track", "sync"])
    assert told.exit_code == 0
    assert told.stdout.endswith("2 runs sent\n")
    assert CliRunner().invoke(app, ["track", "status"]).stdout == "MLflow has all of every run\n"
    stage, flow = the_run(connection, "dark stage"), the_run(connection, "dark flow")
    assert stage.data.tags["mlflow.parentRunId"] == flow.info.run_id
    assert stage.info.start_time <= began < stage.info.end_time <= ended
    assert history(connection[0], stage.info.run_id) == [(1, 2.0)]
    assert sync(root, connection).sent == []
    assert outlook(root) == []


def test_stages_of_one_dvc_repro_find_their_parent_also_in_the_dark(
    root: Path, served: Any, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(lambda params, layout, log: {"answer": 42.0})
    monkeypatch.setattr(tracking, "_invocation", lambda: "dark-1-5")
    for dark in (False, True, True, False):
        if dark == served.up:
            (served.stop if dark else served.start)()
        run_stage("toy", root)
        if dark:
            record = read_json(tracking.record_path(Layout(root), "toy"))
    assert outlook(root) == [], "the last run has sent all"
    client, experiment = connect(root)
    (parent,) = client.search_runs([experiment], f"tags.`{tracking.INVOCATION}` = 'dark-1-5'")
    assert parent.info.status == "FINISHED"
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [run.data.metrics["answer"] for run in children] == [42.0] * 4
    assert record["run_id"] is None
    write_json(tracking.record_path(Layout(root), "toy"), record)
    with tracking.pipeline_run(root, "flow") as flow:
        tracking.log_restored(Layout(root), "toy", flow)
    (restored,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{flow}'")
    assert restored.data.tags["producer_run_id"] in [run.info.run_id for run in children]


class Cut(BaseException):  # what a kill looks like to the code that is killed: nothing that it could handle
    """The process is killed here."""


class Killer:
    """The process "is killed" after the n-th of these calls: of MLflow's client, before the answer counts; and of what
    changes a file. It lives as long as ``left`` is None."""

    left: int | None = None

    def deadly(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = function(*args, **kwargs)
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    self.left = None
                    raise Cut
            return answer

        return call


class KillingClient:
    """MLflow's client, each call of which may be the last."""

    def __init__(self, client: Any, killer: Killer) -> None:
        self.client, self.killer = client, killer

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self.killer.deadly(getattr(self.client, name))


def filled(root: Path, name: str) -> Path:
    """Folder in the outbox of a run that ended in the dark, with one of everything."""
    who = {"key": f"key-of-{name}", "name": name, "tags": {"stage": "toy"}, "start": 5, "parent": None, "uri": ""}
    entry = outbox.open_entry(root, who)
    run = Recording(root, entry, None)
    run.say({"params": {"a": "1"}})
    for step in range(3):
        run.say({"metrics": [["loss", float(step), 100 + step, step], ["bad", float("nan"), 100, step]]})
    run.say({"inputs": [{"name": "data", "digest": "d" * 32, "source_type": "dvc", "source": "{}"}]})
    run.say({"tags": {"b": "2"}})
    (root / "file").write_text("content")
    run.keep(root / "file", "some/file")
    entry.know(ended={"status": "FAILED", "at": 9})
    entry.release()
    return entry.folder


def test_a_sync_killed_at_any_point_and_repeated_gives_each_thing_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, experiment = connect(root)
    killer = Killer()
    for name in ("truncate", "replace", "unlink"):  # all that the outbox does, shutil.rmtree included
        monkeypatch.setattr(os, name, killer.deadly(getattr(os, name)))
    kills, calls = 1, 0
    while kills:
        name = f"killed at {calls}"
        folder = filled(root, name)
        kills = 0
        while entry := outbox.take_over(folder):
            killer.left = calls if kills == 0 else None
            try:
                deliver(KillingClient(client, killer), experiment, entry)
            except Cut:
                kills += 1
            killer.left = None
            entry.release()
        calls += 1
        run = the_run((client, experiment), name)
        assert (run.info.status, run.info.start_time, run.info.end_time) == ("FAILED", 5, 9)
        assert history(client, run.info.run_id) == [(0, 0.0), (1, 1.0), (2, 2.0)]
        assert len(client.get_metric_history(run.info.run_id, "bad")) == 3
        assert run.data.params == {"a": "1"}
        assert run.data.tags["b"] == "2"
        assert [item.dataset.name for item in run.inputs.dataset_inputs] == ["data"]
        assert artifacts(client, run.info.run_id, "some") == {"some/file"}
    assert calls > 15


def test_a_full_disk_while_the_journal_begins_anew_loses_nothing_that_comes_after(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(root, "begun anew")
    (folder,) = outbox.folders(root)
    entry = outbox.take_over(folder)
    assert entry is not None
    first, *_, last = [position for _, position in entry.unsent()]
    entry.mark_sent(first)
    with monkeypatch.context() as patched:
        fill_disk(patched, root / ".work")
        with suppress(OSError, UserError):
            entry.mark_sent(last)
    repeated = len(entry.unsent())
    after = [{"metrics": [["loss", 1.0, 1, step]]} for step in range(20)]
    for record in after:
        entry.append(record)
    assert [record for record, _ in entry.unsent()][repeated:] == after
    assert last > first + 100
    entry.remove()


def test_of_a_request_to_make_a_run_that_was_repeated_one_run_stays(root: Path) -> None:
    client, experiment = connect(root)
    filled(root, "twice")
    key = {KEY: "key-of-twice"}
    made = [client.create_run(experiment, start_time=5 + n, tags=key, run_name="twice") for n in range(2)]
    assert sync(root, (client, experiment)).elsewhere, "of another server"
    (folder,) = outbox.folders(root)
    entry = outbox.take_over(folder)
    assert entry is not None
    deliver(client, experiment, entry)
    assert find_runs(client, experiment, "key-of-twice") == [made[0].info.run_id]


KILLED = """
import os, sys, time
from pathlib import Path
from hummingbird.ops import tracking
with tracking.single_run(Path(sys.argv[1]), "killed", {}, {}) as log:
    for step in range(100):
        log.metrics({"loss": float(step)}, step)
    print("logged", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_loses_no_metric_and_its_run_does_not_stay_open(root: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "logged\n"
    connection = connect(root)
    assert sync(root, connection).sent == [], "it is at work"
    assert the_run(connection, "killed").info.status == "RUNNING"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (folder,) = outbox.folders(root)
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"metrics": [["loss", 1')  # it was writing when it was killed
    assert "killed" in outlook(root)[0]
    with tracking.single_run(root, "the next", {}, {}):
        pass
    run = the_run(connection, "killed")
    assert run.info.status == "KILLED"
    assert [step for step, _ in history(connection[0], run.info.run_id)] == list(range(100))
    assert os.listdir(outbox.outbox(root)) == []


def test_a_stage_killed_under_a_flow_does_not_stay_open_after_it(root: Path) -> None:
    with tracking.pipeline_run(root, "flow") as parent:
        who = {"key": "k", "name": "died", "tags": {}, "start": 5, "parent": parent}
        entry = outbox.open_entry(root, who | {"uri": server.shown(server.tracking_uri(root))})
        entry.append({"metrics": [["loss", 1.0, 6, 1]]})
        entry.release()  # as the system does with the lock of a killed process
    run = the_run(connect(root), "died")
    assert (run.info.status, run.data.metrics) == ("KILLED", {"loss": 1.0})
    assert run.data.tags["mlflow.parentRunId"] == parent


def test_a_record_that_mlflow_never_takes_is_put_aside_and_holds_up_nothing(root: Path) -> None:
    with tracking.single_run(root, "odd", {}, {}) as log:
        log.metrics({"no such: name?!": 1.0, "loss": 1.0}, 1)
        log.metrics({"loss": 2.0}, 2)
    client, _ = connection = connect(root)
    run = the_run(connection, "odd")
    assert history(client, run.info.run_id) == [(1, 1.0), (2, 2.0)]
    (line,) = outlook(root)
    assert "no such: name?!" in Path(line.partition("see ")[2]).read_text()


def test_a_full_disk_keeps_records_in_memory(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking.single_run(root, "full", {}, {}) as log:
        with monkeypatch.context() as patched:
            fill_disk(patched, root / ".work")
            log.metrics({"loss": 1.0}, 1)
            log.run.send()
            log.metrics({"loss": 2.0}, 2)
        log.metrics({"loss": 3.0}, 3)
    client, _ = connection = connect(root)
    assert history(client, the_run(connection, "full").info.run_id) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert capsys.readouterr().err.count("No space left") == 1


def test_a_disk_that_stays_full_fails_no_run_and_loses_no_metric(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        with tracking.single_run(root, "full", {}, {}) as log:
            log.metrics({"loss": 1.0}, 1)
            fill_disk(patched, root / ".work")
            log.metrics({"loss": 2.0}, 2)
            for name in ("one.txt", "two.txt"):
                (root / name).write_text("")
                log.artifact(root / name)
        client, _ = connection = connect(root)
        run = the_run(connection, "full")
    assert run.info.status == "FINISHED"
    assert history(client, run.info.run_id) == [(1, 1.0), (2, 2.0)]
    assert outlook(root) == []
    said = capsys.readouterr().err
    assert said.count("the record of this run cannot be written") == 1
    assert "warning: one.txt is not in the record" in said
    assert "2 artifacts are not in the record: one.txt, two.txt" in said


def test_a_summary_that_the_disk_does_not_take_fails_no_stage(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root / "clips.parquet"
    table.touch()
    (root / "temporary").mkdir()
    monkeypatch.setattr(outputs.gates, "WRITES", ("toy",))
    monkeypatch.setattr(outputs.gates, "table_of", lambda stage, layout: table)
    monkeypatch.setattr(outputs, "summarise", lambda table: {"rows": 1})
    monkeypatch.setattr(tempfile, "tempdir", str(root / "temporary"))
    with tracking.single_run(root, "summary", {}, {}) as log, monkeypatch.context() as patched:
        fill_disk(patched, root / "temporary")
        outputs.keep_outputs(log.run, Layout(root), "toy")
    assert "clips.summary.json is not in the record" in capsys.readouterr().err


def fill_disk(patched: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the disk have no space for anything written below ``folder``."""
    really_open, really_replace = open, os.replace

    def full(path: Any) -> bool:
        return isinstance(path, str | Path) and Path(path).is_relative_to(folder)

    def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if full(path) and set(mode) & set("wax+"):
            raise OSError(28, "No space left on device")
        return really_open(path, mode, *args, **kwargs)

    def replaced(source: Any, target: Any, **kwargs: Any) -> None:
        if full(target):
            raise OSError(28, "No space left on device")
        really_replace(source, target, **kwargs)

    patched.setattr(io, "open", opened)
    patched.setattr("builtins.open", opened)
    patched.setattr(os, "replace", replaced)


def test_a_journal_that_starts_anew_is_read_from_its_start(root: Path) -> None:
    entry = outbox.open_entry(root, {"key": "k", "name": "n", "start": 1})
    for step in range(3):
        entry.append({"metrics": [["loss", 1.0, 1, step]]})
    entry.mark_sent(entry.unsent()[1][1])
    assert len(entry.unsent()) == 1
    entry.mark_sent(entry.unsent()[-1][1])
    for step in range(4):
        entry.append({"metrics": [["loss", 1.0, 1, step]]})
    assert len(entry.unsent()) == 4


def test_a_checkout_inside_the_project_leaves_its_records_with_the_project(tmp_path: Path) -> None:
    assert outbox.outbox(tmp_path / ".work/worktrees/clean") == tmp_path / ".work/outbox"
    assert outbox.outbox(tmp_path / ".work/worktrees/one/.work/worktrees/two") == tmp_path / ".work/outbox"
    for own in (tmp_path, tmp_path / ".work/project", tmp_path / ".work/worktrees/clean/examples"):
        assert outbox.outbox(own) == own / ".work/outbox"


@pytest.mark.parametrize(
    ("status", "body", "problem", "step"),
    [
        (200, "1.30.0", "is version 1.30.0, which does not go with", "pip install mlflow==1.30.0"),
        (401, "no", "does not let us in", "MLFLOW_TRACKING_USERNAME"),
        (503, "no", "does not answer: HTTP status 503", "unset MLFLOW_TRACKING_URI"),
        (404, "<html>", "is no MLflow server", "check MLFLOW_TRACKING_URI"),
    ],
)
def test_other_servers_are_told_apart_before_any_work(
    root: Path, install: Any, monkeypatch: pytest.MonkeyPatch, status: int, body: str, problem: str, step: str
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: Any) -> None: ...

    ran: list[int] = []
    install(lambda params, layout, log: ran.append(1) or {})
    with HTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{other.server_port}")
        with pytest.raises(UserError, match=problem) as caught:
            run_stage("toy", root)
        other.shutdown()
    assert step in caught.value.next_step
    assert not ran
    assert outlook(root) == []


def test_passwords_are_not_shown() -> None:
    assert server.shown("postgresql://me:secret@host:5432/mlflow") == "postgresql://host:5432/mlflow"
    for plain in ("http://host:5000", "sqlite:////home/me/mlflow.db", "https://host/@me"):
        assert server.shown(plain) == plain
