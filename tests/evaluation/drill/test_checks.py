"""The drill must see a loss when there is one: what it compares, on made records."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.drill import faults
from evaluation.drill.checks import Counts, compare_points, compare_runs, stale_locks
from evaluation.drill.project import Project, Told
from evaluation.drill.rest import Recorded


def told() -> dict[str, Told]:
    said = {("loss", 1, 0.5), ("loss", 2, 0.25)}
    return {"k": Told("train", "k", 1, said, begun={("loss", 3, 0.125)}, kept={"notes.txt"})}


def run(
    name: str = "train", key: str = "k", status: str = "FINISHED", parent: str | None = "p", **tags: str
) -> Recorded:
    given = {"hummingbird.run_key": key, **tags}
    if name != "flow":
        given["stage"] = name
    if parent:
        given["mlflow.parentRunId"] = parent
    return Recorded("p" if name == "flow" else f"id-{key}", name, status, given, frozenset({"loss"}))


FLOW = run("flow", "of-flow", parent=None)


class Server:
    """MLflow with the given history of ``loss``."""

    def __init__(self, *points: tuple[str, int, float], artifacts: tuple[str, ...] = ("notes.txt",)) -> None:
        self._points, self._artifacts = list(points), set(artifacts)

    def points(self, run: str, name: str) -> list[tuple[str, int, float]]:
        return self._points

    def artifacts(self, run: str) -> set[str]:
        return self._artifacts


def compared(server: Server) -> Counts:
    counts = Counts()
    compare_points(told(), [run(), FLOW], server, counts)  # type: ignore[arg-type]
    return counts


def test_what_mlflow_must_have_and_what_it_may_have() -> None:
    must = [("loss", 1, 0.5), ("loss", 2, 0.25)]
    for may in ([], [("loss", 3, 0.125)]):
        counts = compared(Server(*must, *may))
        assert (counts.points, counts.recorded, counts.wrong) == (2, 2 + len(may), [])


@pytest.mark.parametrize(
    ("points", "wrong"),
    [
        ([("loss", 1, 0.5)], "1 points of train (id-k) are lost"),
        ([("loss", 1, 0.5), ("loss", 2, 0.25), ("loss", 2, 0.25)], "1 points of train (id-k) are doubled"),
        ([("loss", 1, 0.5), ("loss", 2, 0.25), ("loss", 9, 9.0)], "1 points of train (id-k) are invented"),
    ],
)
def test_a_point_that_is_lost_doubled_or_invented_shows(points: list[Any], wrong: str) -> None:
    assert compared(Server(*points)).wrong == [wrong]


def test_a_missing_artifact_shows() -> None:
    (wrong,) = compared(Server(("loss", 1, 0.5), ("loss", 2, 0.25), artifacts=())).wrong
    assert "notes.txt" in wrong


@pytest.mark.parametrize(
    ("runs", "wrong"),
    [
        ([FLOW], "no run for what train recorded as k"),
        ([FLOW, run(), run(status="FAILED")], "2 runs have the key k"),
        ([FLOW, run(), run(key="other", status="KILLED")], "is of a stage that did not run"),
        ([FLOW, run(status="RUNNING")], "is still open"),
        ([FLOW, run(status="KILLED")], "stage train finished 0 times"),
        ([FLOW, run(parent="gone")], "has lost its parent"),
        ([run()], "0 runs of the pipeline"),
    ],
)
def test_a_run_that_is_missing_doubled_or_open_shows(runs: list[Recorded], wrong: str) -> None:
    assert any(wrong in line for line in compare_runs(told(), runs, ["train"], 2).wrong)


def test_runs_as_they_should_be() -> None:
    restored = run("prepare", "restored", cached="true")
    counts = compare_runs(told(), [FLOW, run(), restored], ["train"], 2)
    assert (counts.runs, counts.doubled_runs, counts.wrong) == (1, 0, [])


def test_what_a_dead_process_left_shows(tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path / "record")
    assert stale_locks(project) == []
    for folder in (".dvc/tmp", ".work/flows", ".work/outbox"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {"made/train": {"pid": 1, "cmd": "repro"}}}))
    (tmp_path / ".work/flow.lock").touch()
    assert stale_locks(project) == ["DVC's rwlock: write made/train"]
    (tmp_path / ".dvc/tmp/rwlock").write_text("")
    (tmp_path / ".work/outbox/entry").touch()
    with (tmp_path / ".work/flow.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert stale_locks(project) == [".work/flow.lock is locked", "DVC's rwlock is damaged", "outbox: entry"]


def test_a_record_cut_off_by_a_kill_is_read_up_to_there(tmp_path: Path) -> None:
    lines = [{"stage": "train", "run": "k", "pid": 5}, {"saying": {"loss": 1.0}, "step": 1}, {"said": 1},
             {"kept": "notes.txt"}, {"saying": {"loss": 2.0}, "step": 2}]  # fmt: skip
    (tmp_path / "k.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"sai')
    found = Project(tmp_path, tmp_path).told()["k"]
    assert found == Told("train", "k", 5, {("loss", 1, 1.0)}, {("loss", 2, 2.0)}, {"notes.txt"})


def test_the_short_form_is_a_part_of_the_whole() -> None:
    assert set(faults.SHORT) < set(faults.FAULTS)
