"""Hashes as DVC computes them, and the state of the code."""

from __future__ import annotations

import subprocess
import sys
from hashlib import md5
from pathlib import Path

import pytest
import yaml

from hummingbird import provenance
from hummingbird.files import read_json


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "artifacts/stage2"
    (made / "pipeline/unet").mkdir(parents=True)
    (made / "pipeline/unet/weights.bin").write_bytes(bytes(range(256)) * 99)
    (made / "pipeline/model_index.json").write_text("{}")
    (made / "pipeline-2.txt").write_text("sorts before pipeline/ in a list of paths, after it in a walk")
    (made / "empty").touch()
    return made


def test_hashes_are_those_of_dvc(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    (tmp_path / ".dvcignore").write_text("__pycache__\n*.pyc\n*.part\n")
    (folder / "left.part").write_text("unfinished")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "artifacts/stage2"], cwd=tmp_path, check=True)
    [out] = yaml.safe_load((tmp_path / "artifacts/stage2.dvc").read_text())["outs"]
    assert provenance.content_md5(folder, tmp_path) == out["md5"]


def test_hashes_follow_changes_and_unchanged_files_are_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = provenance.content_md5(folder, tmp_path)
    assert len(read_json(tmp_path / ".work/md5.json")) == 4
    (folder / "empty").write_text("no longer")
    second = provenance.content_md5(folder, tmp_path)
    assert second != first
    monkeypatch.setattr("hashlib.md5", lambda data=None, **_: md5(data) if data else pytest.fail("read again"))
    assert provenance.content_md5(folder, tmp_path) == second


def test_what_lies_in_an_output_stands_for_all_of_it(folder: Path, tmp_path: Path) -> None:
    whole = provenance.weights(tmp_path, ["artifacts/stage2"])
    assert provenance.weights(tmp_path, ["artifacts/stage2/pipeline", "artifacts/stage2/empty"]) == whole
    assert provenance.weights(tmp_path, ["artifacts/none"]) == {}
    other = tmp_path / "mine"
    other.mkdir()
    assert list(provenance.weights(tmp_path, [str(other)])) == [str(other)]


def test_the_code_is_clean_until_a_tracked_file_changes(tmp_path: Path) -> None:
    assert provenance.code(tmp_path) == {}
    git(tmp_path, "init", "-q")
    for name in ("params.yaml", "dvc.lock"):
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = provenance.git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "dvc.lock").write_text("2")  # written by every run
    (tmp_path / "video.mp4").touch()
    assert provenance.code(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "params.yaml").write_text("2")
    assert provenance.code(tmp_path) == {"commit": commit, "dirty": True}
