"""What a worker's volume holds after it started: the newest commit, and nothing of what was changed there lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

from tests.infra.test_kubernetes import manifests
from tests.infra.tools import finds_nothing

LOCK = ".work/flow.lock"  # of flows.session, whose import takes seconds
SOURCE = {"GIT_REPOSITORY": "../source", "GIT_REF": "main"}


@pytest.fixture
def checkout(infra: Path, tmp_path: Path) -> Path:
    """The script of the init container, and beside it a repository to check out and a new volume."""
    [script] = [one["data"]["checkout.sh"] for one in manifests(infra) if one["metadata"]["name"] == "checkout"]
    (tmp_path / "checkout.sh").write_text(script)
    (tmp_path / "volume/lost+found").mkdir(parents=True)
    (tmp_path / "source").mkdir()
    git(tmp_path / "source", "init", "-q", "-b", "main")
    publish(tmp_path, "dvc.lock", "first")
    return tmp_path / "volume"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def publish(folder: Path, name: str, text: str) -> None:
    (folder / "source" / name).write_text(text)
    git(folder / "source", "add", "-A")
    git(folder / "source", "commit", "-qm", text)


def start_worker(volume: Path) -> str:
    command = ["sh", volume.parent / "checkout.sh"]
    done = subprocess.run(command, cwd=volume, env=os.environ | SOURCE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_volume_is_filled_and_a_new_commit_follows(checkout: Path) -> None:
    assert "first" in start_worker(checkout)
    publish(checkout.parent, "params.yaml", "second")
    (checkout / "dvc.lock").write_text("as a run left it")
    assert "WARNING" not in start_worker(checkout)
    assert (checkout / "params.yaml").read_text() == "second"
    assert (checkout / "dvc.lock").read_text() == "as a run left it"  # the commit has nothing else to say about it
    assert git(checkout, "rev-parse", "origin/main") == git(checkout, "rev-parse", "HEAD")


def test_what_stands_in_the_way_of_a_new_commit_is_kept_on_a_branch(checkout: Path) -> None:
    start_worker(checkout)
    publish(checkout.parent, "dvc.lock", "second")
    publish(checkout.parent, "note", "third")
    (checkout / "dvc.lock").write_text("as a run left it")
    (checkout / "note").write_text("my own")
    (checkout / "other").write_text("in nobody's way")
    assert "WARNING" in start_worker(checkout)
    assert [(checkout / name).read_text() for name in ("dvc.lock", "note")] == ["second", "third"]
    [branch] = git(checkout, "branch", "--list", "kept/*", "--format=%(refname)").split()
    assert git(checkout, "show", f"{branch}:dvc.lock") == "as a run left it"
    assert git(checkout, "show", f"{branch}:note") == "my own"
    assert (checkout / "other").is_file()
    assert "WARNING" not in start_worker(checkout)


def test_a_run_at_work_keeps_its_code(checkout: Path) -> None:
    start_worker(checkout)
    publish(checkout.parent, "dvc.lock", "second")
    with FileLock(checkout / LOCK):
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["sh", checkout.parent / "checkout.sh"], cwd=checkout, env=os.environ | SOURCE, timeout=2)
        assert (checkout / "dvc.lock").read_text() == "first"
    start_worker(checkout)
    assert (checkout / "dvc.lock").read_text() == "second"


def test_shellcheck_finds_nothing_in_the_script(checkout: Path) -> None:
    assert finds_nothing(
        "shellcheck", "--enable=all", "--exclude=SC2250,SC2310,SC2312", checkout.parent / "checkout.sh"
    )
