"""What the records of runs say of the checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hummingbird.ops.checkout import git_tags, uncommitted


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("code.py", "dvc.lock", "reports/summary.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as committed")
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path


def test_what_a_run_writes_does_not_make_the_tree_of_the_next_stage_dirty(checkout: Path) -> None:
    (checkout / "dvc.lock").write_text("as the first stage left it")
    (checkout / "reports/summary.json").write_text("as the last run left it")
    assert git_tags(checkout)["git.dirty"] == "false"
    assert uncommitted(checkout) == []
    assert uncommitted(checkout, but_for=()) == ["dvc.lock", "reports/summary.json"]
    (checkout / "code.py").write_text("edited")
    assert git_tags(checkout)["git.dirty"] == "true"
    assert uncommitted(checkout) == ["code.py"]


def test_without_a_commit_nothing_is_claimed(tmp_path: Path) -> None:
    assert git_tags(tmp_path) == {"git.sha": "unknown"}
    assert uncommitted(tmp_path) is None
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert git_tags(tmp_path) == {"git.sha": "unknown"}
    assert uncommitted(tmp_path) is None
