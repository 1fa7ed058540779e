"""A run waits for another one in its folder before it changes anything there."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import pipeline, worktree
from flows.dag import Dag
from flows.folder import alone_in, tidy_locks, working_folder
from flows.pipeline import Plan, run_flow
from flows.settings import Settings
from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.params import Params, dump_params, load_params


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_with_a_profile_waits_before_it_changes_the_parameters(
    toys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (toys / "profiles").mkdir()
    for name, seed in {"small": 1, "large": 7}.items():
        (toys / f"profiles/{name}.yaml").write_text(dump_params(Params(seed=seed)))
    planned: list[int] = []

    def plan(*_: Any) -> Plan:
        planned.append(load_params(toys / "params.yaml").seed)
        return Plan(Dag({}), frozenset())

    monkeypatch.setattr(pipeline, "make_plan", plan)
    second = threading.Thread(target=run_flow, args=(Settings(profile="large"),))
    with alone_in(toys, print):
        second.start()
        wait_for(lambda: "waiting until another run" in capsys.readouterr().out or not second.is_alive())
        assert load_params(toys / "params.yaml").seed == 1
        assert not planned, "DVC would say that another process is at work"
    second.join()
    assert planned == [7]


def test_a_run_apart_waits_before_it_touches_the_folder_of_one_like_it(
    toys_in_git: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worktree, "_fill", lambda root, folder: (folder / "d").write_text("from the cache"))
    settings = Settings(overrides={"seed": 2})
    said: list[str] = []
    found: list[Path] = []

    def same_again() -> None:
        with working_folder(toys_in_git, settings, said.append) as again:
            found.append(again)

    second = threading.Thread(target=same_again)
    with working_folder(toys_in_git, settings, said.append) as folder:
        assert not said and load_params(folder / "params.yaml").seed == 2
        (folder / "d").write_text("half made")
        second.start()
        wait_for(lambda: said or not second.is_alive())
        assert (folder / "d").read_text() == "half made"
        with working_folder(toys_in_git, Settings(overrides={"seed": 3}), said.append) as other:
            assert other != folder, "another run has its own folder, and does not wait"
    second.join()
    assert found == [folder]
    assert said == [f"waiting until another run of the pipeline in {folder} is done"]


def test_a_folder_without_a_project_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="so it is no project"), working_folder(tmp_path, Settings(), print):
        pass
    assert not list(tmp_path.iterdir())


def test_half_a_table_of_locks_goes_and_a_whole_one_stays(tmp_path: Path) -> None:
    table = tmp_path / ".dvc/tmp/rwlock"
    assert not tidy_locks(tmp_path)
    table.parent.mkdir(parents=True)
    for text, goes in (("{}", False), ('{"read": {}}', False), ("", True), ('{"read": {"a', True)):
        table.write_text(text)
        assert tidy_locks(tmp_path) is goes
        assert table.exists() is not goes


def test_locks_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    table = tmp_path / ".dvc/tmp/rwlock"
    with subprocess.Popen(["true"]) as dead:
        pass
    me, gone = {"pid": os.getpid(), "cmd": "dvc repro"}, {"pid": dead.pid, "cmd": "dvc repro --single-item a"}
    write_json(table, {"write": {"a": gone, "b": me}, "read": {"c": [gone, me], "d": [gone]}})
    assert not tidy_locks(tmp_path)
    assert read_json(table) == {"write": {"b": me}, "read": {"c": [me]}}
    before_my_time = psutil.Process().create_time() - 60
    os.utime(table, (before_my_time, before_my_time))
    assert not tidy_locks(tmp_path)
    assert read_json(table) == {"write": {}, "read": {}}, "the holder of this process's number was another"


def test_a_table_of_locks_that_is_being_written_stays(tmp_path: Path) -> None:
    from dvc.lock import make_lock

    table = tmp_path / ".dvc/tmp/rwlock"
    table.parent.mkdir(parents=True)
    table.write_text("")
    with make_lock(str(table.with_name("rwlock.lock"))):
        assert not tidy_locks(tmp_path)
    assert table.exists()
