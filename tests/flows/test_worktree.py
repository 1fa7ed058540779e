from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows import worktree
from flows.settings import Settings
from hummingbird.errors import UserError
from hummingbird.params import Params, dump_params, load_params


def git(*words: str) -> str:
    who = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
    return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()


def dvc(*words: str, folder: Path | None = None) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def prepare(root: Path, settings: Settings) -> Path:
    return worktree.prepare(worktree.describe(root, settings))


@pytest.fixture
def committed(toys_in_git: Path) -> Path:
    """The toy project, run by plain DVC and committed."""
    dvc("repro", "-q")
    git("add", "-A")
    git("commit", "-qm", "results")
    (toys_in_git / "log").unlink()
    return toys_in_git


def test_a_run_gets_a_folder_of_its_own_that_the_next_one_like_it_finds_again(committed: Path) -> None:
    (committed / "params.yaml").write_text("half an edit")
    folder = prepare(committed, Settings(overrides={"seed": 2}))

    assert load_params(folder / "params.yaml").seed == 2
    assert (committed / "params.yaml").read_text() == "half an edit"
    assert git("-C", str(folder), "status", "--porcelain") == "", "its commit says all about it"
    assert (folder / "d").read_text() == "dbaca", "outputs come from the cache"

    assert dvc("repro", folder=folder).count("Running stage") == 1
    assert (folder / "log").read_text() == "d"
    assert worktree.commit_all(folder, "results")
    assert not worktree.commit_all(folder, "results"), "nothing is left to commit"
    assert prepare(committed, Settings(overrides={"seed": 2})) == folder
    assert "up to date" in dvc("repro", folder=folder)

    git("checkout", "-q", "params.yaml")
    git("merge", "-q", worktree.branch(folder))
    dvc("checkout", "-q")
    assert load_params(committed / "params.yaml").seed == 2
    assert "up to date" in dvc("status"), "after the merge the results count as made here"


def test_a_profile_is_that_of_the_commit_whatever_was_edited_since(toys_in_git: Path) -> None:
    profile = toys_in_git / "profiles/large.yaml"
    profile.parent.mkdir()
    profile.write_text(dump_params(Params(seed=7)))
    with pytest.raises(UserError, match=r"(?s)not in the last commit.*git add profiles/large\.yaml"):
        worktree.describe(toys_in_git, Settings(profile="large", clean=True))
    git("add", "-A")
    git("commit", "-qm", "profile")
    profile.write_text(dump_params(Params(seed=9)))
    assert worktree.describe(toys_in_git, Settings(profile="large", clean=True)).params.seed == 7
    with pytest.raises(UserError, match="no profile 'larger'; did you mean 'large'"):
        worktree.describe(toys_in_git, Settings(profile="larger", clean=True))


def test_hooks_of_the_user_do_not_run(toys_in_git: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worktree, "_fill", lambda root, folder: None)
    for name in ("post-checkout", "pre-commit", "post-commit"):
        hook = toys_in_git / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {toys_in_git}/hooked_by_{name}\n")
        hook.chmod(0o755)
    folder = prepare(toys_in_git, Settings(overrides={"seed": 2}))
    assert git("-C", str(folder), "log", "-1", "--format=%s").startswith("Parameters of a run")
    assert not list(toys_in_git.glob("hooked_by_*"))


def test_wrong_values_are_explained_before_anything_is_made(committed: Path) -> None:
    with pytest.raises(UserError, match="sed: unknown parameter; did you mean 'seed'"):
        prepare(committed, Settings(overrides={"sed": 2}))
    with pytest.raises(UserError, match="seed = 'two': must be a whole number"):
        prepare(committed, Settings(overrides={"seed": "two"}))
    with pytest.raises(UserError, match="no profile 'huge'"):
        prepare(committed, Settings(profile="huge", clean=True))
    assert not (committed / ".work/worktrees").exists()


def test_without_a_commit_there_is_nothing_to_work_on(toys: Path) -> None:
    with pytest.raises(UserError, match=r"git rev-parse failed.*\n.*make one, or run without"):
        prepare(toys, Settings(clean=True))
