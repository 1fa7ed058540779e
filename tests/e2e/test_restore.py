"""A video of a real model, made again byte for byte from DVC's remote after code and models have changed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PROMPT = "a large plain red circle moves slowly left on sea"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (PROJECT / "assets/miniature/manifest.json").is_file(), reason="the miniature's checkpoints are not here"
    ),
]


def run(folder: Path, *command: str) -> str:
    """Run a command with the code in ``folder``; its output and errors."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}"}
    env.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", message)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the checkout in a repository of its own, with a DVC remote and nothing made yet."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0")
    folder = tmp_path / "project"
    for name in filter(None, names):
        if (PROJECT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "remote", "add", "-q", "-d", "far", str(tmp_path / "remote"))
    return folder


def test_a_video_is_made_again_byte_for_byte(project: Path, tmp_path: Path) -> None:
    run(project, "dvc", "repro", "-q", "--single-item", "foundation")
    run(project, "dvc", "push", "-q", "foundation")
    commit(project, "the foundation")
    generate = ["hummingbird", "generate", PROMPT, "--model", "teacher", "--steps", "2", "--seed", "7"]
    run(project, *generate, "--out", "first.mp4")

    code = project / "src/hummingbird/generate.py"
    code.write_text(code.read_text().replace("enlarge(np.asarray(videos[0])", "enlarge(255 - np.asarray(videos[0])"))
    run(project, "git", "rm", "-q", "--cached", "dvc.lock")
    for made in ("artifacts", "dvc.lock", ".dvc/cache", "mlflow.db", "reports/runs"):
        shutil.rmtree(project / made) if (project / made).is_dir() else (project / made).unlink()
    commit(project, "another experiment, and all caches lost")

    said = run(project, "hummingbird", "lineage", "first.mp4", "--restore", str(tmp_path / "then"))
    assert "from DVC's remote 'far'" in said
    assert "the foundation" in said, "the commit's subject"
    again = shlex.split(said.partition("to make it again: ")[2].splitlines()[0].partition("&& ")[2])
    assert again[:2] == ["PYTHONPATH=src:.", "python"]
    run(tmp_path / "then", sys.executable, *again[2:])
    assert (tmp_path / "then/again.mp4").read_bytes() == (project / "first.mp4").read_bytes()
