"""Chains of a toy project with a real history: git, DVC with a remote, MLflow, and videos made by its model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from hummingbird import provenance
from hummingbird.cli import app
from hummingbird.data.mp4_tags import read_facts, write_tagged_mp4
from hummingbird.data.video_io import encode_mp4
from hummingbird.errors import UserError
from hummingbird.ops import server
from hummingbird.ops.dvc_project import cache, settings
from hummingbird.ops.history import with_record
from hummingbird.ops.lineage import Link, trace
from hummingbird.ops.records import KEY
from hummingbird.ops.restore import command, restore

MAKE = """
import json, pathlib, sys
sys.path.insert(0, "src")
import model
stage, where = sys.argv[1:]
made = pathlib.Path(where)
made.mkdir(parents=True)
(made / "clips.parquet" if stage == "download" else made / "weights").write_text(f"{stage} {model.VALUE}")
record = pathlib.Path(f"reports/runs/{stage}.json")
record.parent.mkdir(parents=True, exist_ok=True)
record.write_text(json.dumps({"run_id": pathlib.Path(f"{stage}.id").read_text(), "dvc.stage_hash": f"hash of {stage}"}))
"""
RUNS = {"download": "d" * 32, "stage2": "2" * 32}
STAGES = {
    "download": {
        "cmd": f"{sys.executable} make.py download data/raw",
        "params": ["seed", "download"],
        "deps": ["src/model.py"],
        "outs": ["data/raw", "reports/runs/download.json"],
    },
    "stage2": {
        "cmd": f"{sys.executable} make.py stage2 artifacts/stage2",
        "params": ["seed"],
        "deps": ["src/model.py", "data/raw"],
        "outs": ["artifacts/stage2", "reports/runs/stage2.json"],
    },
}


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True).stdout


def dvc(root: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, check=True, capture_output=True)


def commit(root: Path, message: str) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-qm", message)
    return git(root, "rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project after two runs: ``old.mp4`` is of the first one, which was committed and pushed."""
    base = tmp_path_factory.mktemp("toy")
    root = base / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(base / "site"))
        (root / ".dvc").mkdir(parents=True)
        settings = f"[core]\n    analytics = false\n    remote = far\n['remote \"far\"']\n    url = {base / 'remote'}\n"
        (root / ".dvc/config").write_text(settings)
        (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (root / ".gitignore").write_text("/data\n/artifacts\n/reports\n/.work\n/mlflow.db\n/mlartifacts\n*.mp4\n")
        (root / "src").mkdir()
        (root / "src/model.py").write_text("VALUE = 1\n")
        (root / "make.py").write_text(MAKE)
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
        (root / "params.yaml").write_text(yaml.safe_dump({"seed": 1, "download": {"source": "world", "clips": 3}}))
        for stage, run_id in RUNS.items():
            (root / f"{stage}.id").write_text(run_id)
        git(root, "init", "-q")
        dvc(root, "repro", "-q")
        dvc(root, "push", "-q")
        commit(root, "first")
        write_video(root, "old.mp4")
        (root / "src/model.py").write_text("VALUE = 2\n")
        for stage, run_id in RUNS.items():
            (root / f"{stage}.id").write_text(run_id[::-1].replace("2", "3"))
        dvc(root, "repro", "-q")
        commit(root, "second")
    yield root


def write_video(root: Path, name: str, **other: Any) -> None:
    """What `hummingbird generate` would write, in few pixels."""
    weights = provenance.weights(root, provenance.WEIGHTS["stage2"])
    asked = {"prompt": "a 'red' circle", "model": "stage2", "seed": 7, "guidance": 3.5}
    facts = {**asked, "weights": weights, "code": provenance.code(root), **other}
    write_tagged_mp4(root / name, np.zeros((2, 16, 16, 3), np.uint8), 8, facts)


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project and of its remote as the current folder, without MLflow."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    shutil.copytree(original.parent, tmp_path / "toy", symlinks=True)
    root = tmp_path / "toy/project"
    settings = (root / ".dvc/config").read_text().replace(str(original.parent), str(tmp_path / "toy"))
    (root / ".dvc/config.local").write_text(settings)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def mlflow(project: Path, empty_database: Path) -> Any:
    """MLflow with the runs of the first run of the pipeline; the records in the cache name others."""
    shutil.copy(empty_database, project / "mlflow.db")
    return server.connect(project)


def links(link: Link, kind: str) -> list[Link]:
    return [*([link] if link.kind == kind else []), *(it for below in link.below for it in links(below, kind))]


def test_a_video_leads_to_the_commit_and_the_source_of_its_data(project: Path) -> None:
    chain = trace("old.mp4", project)
    first = git(project, "rev-list", "--max-parents=0", "HEAD").strip()
    assert chain.link.kind == "sample" and chain.link.facts["seed"] == 7
    assert chain.stages == ("download", "stage2")
    assert chain.lock is not None and chain.lock.commit == chain.lock.code == first
    assert [it.facts["md5"] for it in links(chain.link, "weights")] == [chain.facts["weights"]["artifacts/stage2"]]
    assert [it.facts["hash"] for it in links(chain.link, "stage")] == ["hash of stage2", "hash of download"]
    assert links(chain.link, "stage")[1].facts["params"] == {"seed": 1, "download": {"source": "world", "clips": 3}}
    assert [it.name for it in links(chain.link, "run")] == [RUNS["stage2"], RUNS["download"]]
    [table] = links(chain.link, "data table")
    assert table.facts["md5"] == md5(b"download 1")
    assert [(it.name, it.facts["clips"]) for it in links(chain.link, "source")] == [("world", 3)]
    [last] = links(chain.link, "commit")
    assert (last.name, last.facts["subject"], last.missing) == (first, "first", "")
    assert all("mlflow.db" in gap.missing for gap in chain.link.gaps())


def md5(data: bytes) -> str:
    import hashlib

    return hashlib.md5(data).hexdigest()


def test_a_video_that_names_no_commit_is_found_in_the_history(project: Path) -> None:
    facts = read_facts(project / "old.mp4")
    del facts["code"]
    write_tagged_mp4(project / "sample.mp4", np.zeros((2, 16, 16, 3), np.uint8), 8, facts)
    assert trace("sample.mp4", project).lock == trace("old.mp4", project).lock


def test_missing_links_are_named(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project / "reports")
    chain = trace("old.mp4", project)
    missing = " ".join(gap.missing for gap in chain.link.gaps())
    assert "reports/runs/stage2.json is not in DVC's cache" in missing
    assert "dvc fetch download" in missing
    write_video(project, "none.mp4", weights={"artifacts/stage2": "0" * 32, "mine": "1" * 32})
    chain = trace("none.mp4", project)
    assert "commit dvc.lock" in chain.link.missing
    assert [it.missing for it in links(chain.link, "weights")] == ["not made by this pipeline"]
    with pytest.raises(UserError, match=r"none.mp4 cannot be restored"):
        restore(chain, project / "restored")


def test_code_that_differs_from_what_ran_is_named(project: Path) -> None:
    (project / "src/model.py").write_text("VALUE = 3  # the lock speaks of 2\n")
    other = commit(project, "third, without a run")
    write_video(project, "new.mp4")
    [last] = links(trace("new.mp4", project).link, "commit")
    assert last.name == other
    assert last.missing == "the stages ran other code than this commit has: src/model.py"


def test_runs_and_versions_lead_to_the_same_chain(project: Path, mlflow: Any) -> None:
    client, experiment = mlflow
    first = git(project, "rev-list", "--max-parents=0", "HEAD").strip()
    parent = client.create_run(experiment, run_name="dvc repro").info.run_id
    tags = {"stage": "stage2", "mlflow.parentRunId": parent, "git.sha": first}
    run_id = client.create_run(experiment, run_name="stage2", tags=tags).info.run_id
    rename_run(project, "stage2", run_id)
    cached = {"stage": "stage2", "cached": "true", "producer_run_id": run_id}
    restored = client.create_run(experiment, tags=cached).info.run_id
    client.create_registered_model("hummingbird")
    wanted = trace("old.mp4", project)
    tags = {"producer_run_id": run_id, "files.md5": wanted.facts["weights"]["artifacts/stage2"]}
    version = client.create_model_version("hummingbird", source="runs:/x", tags=tags)
    client.set_registered_model_alias("hummingbird", "champion", version.version)
    wanted = trace("old.mp4", project)
    assert [it.name for it in links(wanted.link, "model version")] == ["hummingbird 1"]
    assert links(wanted.link, "model version")[0].facts["aliases"] == ["champion"]
    for subject in (run_id, parent, restored, "champion", "1", "hummingbird/1", "models:/hummingbird@champion"):
        chain = trace(subject, project)
        assert chain.lock is not None and chain.lock.code == first, subject
        assert chain.stages == wanted.stages
    for subject, said in (("9" * 32, "no run 999"), ("9", "no version or alias '9'"), ("other@x", "model 'other'")):
        with pytest.raises(UserError, match=said):
            trace(subject, project)


def test_a_version_whose_run_is_not_known_is_traced_by_its_files(project: Path, mlflow: Any) -> None:
    client, experiment = mlflow
    first = git(project, "rev-list", "--max-parents=0", "HEAD").strip()
    made = trace("old.mp4", project).facts["weights"]["artifacts/stage2"]
    client.create_registered_model("hummingbird")
    known = {"model": "stage2", "files.md5": made, "provenance.commit": first}
    for number, run_id, said in ((1, "unknown", "the run that made it is not known"), (2, "k5", "no run k5")):
        client.create_model_version("hummingbird", source="runs:/x", tags={**known, "producer_run_id": run_id})
        chain = trace(str(number), project)
        assert chain.lock is not None and chain.lock.code == chain.lock.commit == first
        assert chain.stages == ("download", "stage2") and said in chain.link.missing
        assert [it.facts["md5"] for it in links(chain.link, "weights")] == [made]
    run_id = client.create_run(experiment, tags={"stage": "stage2", KEY: "k5", "git.sha": first}).info.run_id
    away = {"stage": "stage2", "cached": "true", "producer_run_id": "unknown", "producer_run_key": "k5"}
    restored = client.create_run(experiment, tags=away).info.run_id
    assert links(trace(restored, project).link, "run")[1].name == "k5"
    chain = trace("2", project)  # the run is there by now, but no record in the history is of it
    assert chain.lock is not None and chain.lock.code == first and links(chain.link, "run")[0].name == "k5"
    rename_run(project, "stage2", run_id)
    chain = trace("2", project)
    assert chain.lock is not None and chain.stages == ("download", "stage2") and chain.link.missing == ""


@pytest.mark.parametrize("said", ["--output=written", "HEAD", "a" * 39, 7, None])
def test_what_a_file_calls_its_commit_is_no_option_for_git(project: Path, said: Any) -> None:
    write_video(project, "evil.mp4", code={"commit": said})
    before = set(project.iterdir())
    chain = trace("evil.mp4", project)
    head = git(project, "rev-parse", "HEAD").strip()
    assert chain.lock is not None and chain.lock.code == chain.lock.commit == head, "found, as if it named none"
    lock = with_record(project, "stage2", {RUNS["stage2"]}, said)  # the tag of a run
    assert lock is not None and lock.code == lock.commit
    assert set(project.iterdir()) == before


@pytest.mark.parametrize("other", [{"weights": {"artifacts/stage2": 3}}, {"weights": ["x"]}, {"code": "c0ffee"}])
def test_facts_of_another_kind_are_refused(project: Path, other: dict[str, Any]) -> None:
    write_video(project, "odd.mp4", **other)
    with pytest.raises(UserError, match="does not say what made it"):
        trace("odd.mp4", project)


def rename_run(project: Path, stage: str, run_id: str) -> None:
    """Rewrite the history so that the first run's record names ``run_id``."""
    old = json.dumps({"run_id": RUNS[stage], "dvc.stage_hash": f"hash of {stage}"}).encode()
    new = json.dumps({"run_id": run_id, "dvc.stage_hash": f"hash of {stage}"}).encode()
    file = project / ".dvc/cache/files/md5" / md5(new)[:2] / md5(new)[2:]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(new)
    head = git(project, "rev-parse", "HEAD").strip()
    git(project, "checkout", "-q", "HEAD~1")
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text().replace(md5(old), md5(new)))
    git(project, "commit", "-qam", "as MLflow has it")
    git(project, "branch", "renamed")
    git(project, "checkout", "-q", head)


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("absent.mp4", "there is no file absent.mp4"),
        ("plain.mp4", "does not say what made it"),
        ("make.py", "make.py cannot be read"),
        ("2" * 32, "there is no mlflow.db"),
        ("champion", "there is no mlflow.db"),
    ],
)
def test_other_things_are_refused(project: Path, subject: str, said: str) -> None:
    (project / "plain.mp4").write_bytes(encode_mp4(np.zeros((2, 16, 16, 3), np.uint8), 8))
    result = CliRunner().invoke(app, ["lineage", subject])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (project / "mlflow.db").exists(), "looking must not make a database"


def test_the_command_prints_the_chain_and_restores(project: Path) -> None:
    result = CliRunner().invoke(app, ["lineage", "old.mp4", "--json", "--restore", "back", "--models-only"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["kind"] == "sample"
    assert "python -m hummingbird generate 'a '\"'\"'red'\"'\"' circle' --model stage2 --seed 7" in result.stderr
    assert (project / "back/artifacts/stage2/weights").read_text() == "stage2 1"
    assert not (project / "back/data/raw").exists()
    assert "commit " in CliRunner().invoke(app, ["lineage", "old.mp4"]).stdout


def test_an_old_state_comes_back_from_the_remote_byte_for_byte(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    made = restore(trace("old.mp4", project), project / "back")
    back = project / "back"
    assert made.source == "DVC's remote 'far'"
    assert made.outputs == 4
    assert (back / "src/model.py").read_text() == "VALUE = 1\n"
    assert (back / "artifacts/stage2/weights").read_bytes() == b"stage2 1"
    assert (back / "data/raw/clips.parquet").read_bytes() == b"download 1"
    assert git(back, "status", "--porcelain") == ""
    write_video(back, "old.mp4")
    assert (back / "old.mp4").read_bytes() == (project / "old.mp4").read_bytes()
    with pytest.raises(UserError, match="is not empty"):
        restore(trace("old.mp4", project), back)


def test_the_local_cache_helps_out_where_the_remote_lacks_an_object(project: Path) -> None:
    lost = trace("old.mp4", project).facts["weights"]["artifacts/stage2"]
    (project.parent / "remote/files/md5" / lost[:2] / lost[2:]).unlink()
    made = restore(trace("old.mp4", project), project / "back")
    assert made.source.startswith("the local DVC cache")
    assert (project / "back/artifacts/stage2/weights").read_text() == "stage2 1"


def test_what_is_neither_in_the_remote_nor_here_leaves_nothing_behind(project: Path) -> None:
    chain = trace("old.mp4", project)
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project.parent / "remote")
    with pytest.raises(UserError, match=r"neither in DVC's remote .* nor in the local cache") as error:
        restore(chain, project / "back")
    assert "dvc push" in error.value.next_step
    assert not (project / "back").exists()
    assert "back" not in git(project, "worktree", "list")


def test_settings_lead_to_the_same_places_and_are_their_owners_only(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project / ".dvc/cache")
    text = "[cache]\n    dir = ../100%/cache\n['remote \"far\"']\n    url = ../../remote\n"
    web = "['remote \"web\"']\n    url = https://example.org/store\n    password = 50%\n"
    (project / ".dvc/config.local").write_text(text + web)
    monkeypatch.setattr(Path, "chmod", lambda *_: pytest.fail("it was open to others before"))
    old = os.umask(0o022)
    try:
        made = restore(trace("old.mp4", project), project / "deep/er/back")
    finally:
        os.umask(old)
    assert made.source == "DVC's remote 'far'"
    file = project / "deep/er/back/.dvc/config.local"
    assert file.stat().st_mode & 0o777 == 0o600
    there = settings(project / "deep/er/back")
    assert Path(there["remote"]["far"]["url"]).resolve() == project.parent / "remote"
    assert there["remote"]["web"]["password"] == "50%"
    assert Path(there["cache"]["dir"]).resolve() == cache(project) == project / "100%/cache"


def test_a_damaged_remote_is_noticed(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    good = md5(b"stage2 1")
    (project.parent / "remote/files/md5" / good[:2] / good[2:]).chmod(0o644)
    (project.parent / "remote/files/md5" / good[:2] / good[2:]).write_text("damaged!")
    with pytest.raises(UserError, match="artifacts/stage2"):
        restore(trace("old.mp4", project), project / "back")
    assert not (project / "back").exists()


def test_a_lock_that_is_not_committed_cannot_be_restored(project: Path) -> None:
    (project / "src/model.py").write_text("VALUE = 4\n")
    for stage, run_id in RUNS.items():
        (project / f"{stage}.id").write_text(run_id.replace("d", "e"))
    dvc(project, "repro", "-q")
    write_video(project, "new.mp4")
    chain = trace("new.mp4", project)
    assert "dvc.lock is not committed" in links(chain.link, "commit")[0].missing
    with pytest.raises(UserError, match="not committed"):
        restore(chain, project / "back")
    commit(project, "now it is")  # the video says that the code was not clean, and which commit it was then
    made = restore(trace("new.mp4", project), project / "back")
    assert (project / "back/artifacts/stage2/weights").read_text() == "stage2 4"
    assert any("may come out otherwise" in note for note in made.notes)
    assert any("dvc.lock is that of commit" in note for note in made.notes)


def test_the_command_names_every_option(tmp_path: Path) -> None:
    facts = {"prompt": "a cat", "model": "reneg", "negative": "blurry", "fit_negative": True, "lora_scale": 0.5}
    line = command({**facts, "lora": {"file": str(tmp_path / "x y.safetensors")}, "frames": 8}, tmp_path / "b")
    assert line == (
        f"cd {tmp_path / 'b'} && PYTHONPATH=src:. python -m hummingbird generate 'a cat' --model reneg --frames 8 "
        f"--negative blurry --fit-negative --lora '{tmp_path / 'x y.safetensors'}' --lora-scale 0.5 --out again.mp4"
    )
