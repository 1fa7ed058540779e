"""The evidence for a model of a small DVC project, and what makes it incomplete."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.vbench.protocol import DIMENSIONS
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.ops.registry import gather as module
from hummingbird.ops.registry.evidence import CLEAN, GREEN, PUSHED, UP_TO_DATE
from hummingbird.ops.registry.gather import gather

STAGES: dict[str, Any] = {
    "stage2": {"cmd": "true", "deps": ["src/code.py"], "outs": ["artifacts/stage2"]},
    "vbench": {"cmd": "true", "deps": ["artifacts/stage2"], "outs": ["reports/vbench"]},
    "latency": {"cmd": "true", "deps": ["artifacts/stage2"], "outs": ["reports/latency"]},
}
Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a program in the project, DVC and git with settings of their own."""
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "me")

    def run(*words: str) -> None:
        dvc = [sys.executable, "-m", "dvc"] if words[0] == "dvc" else [words[0]]
        subprocess.run([*dvc, *words[1:]], cwd=tmp_path / "project", check=True, env=os.environ, capture_output=True)

    return run


@pytest.fixture
def layout(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """The project as it is after a run, committed and pushed. Its tables pass their gates."""
    layout = Layout(tmp_path / "project")
    monkeypatch.setattr(module.gates, "check", lambda stage, layout: None)
    write_outputs(layout)
    (layout.root / "src").mkdir()
    (layout.root / "src/code.py").write_text("x = 1\n")
    (layout.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (layout.root / ".gitignore").write_text("/artifacts\n/reports\n")
    run("git", "init", "-q")
    run("git", "init", "-q", "--bare", str(tmp_path / "origin"))
    run("git", "remote", "add", "origin", str(tmp_path / "origin"))
    run("dvc", "init", "-q")
    run("dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "remote"))
    run("dvc", "commit", "-q", "-f")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "a run")
    run("git", "push", "-q", "origin", "HEAD:main")
    run("dvc", "push", "-q")
    return layout


def write_outputs(layout: Layout) -> None:
    pipeline = layout.stage2 / "pipeline"
    pipeline.mkdir(parents=True)
    (pipeline / "model_index.json").write_text("{}")
    (pipeline / "weights").write_bytes(bytes(98))
    write(layout.reports / "runs/stage2.json", {"run_id": "r7"})
    header = {"mode": "miniature", "prompts_sha256": "a1", "seeds": [1, 2]}
    figures = {
        "held_out_reward": 0.7,
        "flicker": 0.02,
        "n": 2,
        "ci": {"held_out_reward": [0.6, 0.8], "flicker": [0, 1]},
    }
    write(layout.vbench / "summary.json", {"header": header, "models": {"stage2": figures}})
    rows = [{"video_path": f"{clip}.mp4", "video_results": clip / 2} for clip in (0, 1, 2)]
    scores = {name: [0.5, rows] for name in DIMENSIONS}
    write(layout.vbench / "stage2.json", {"header": {"metric_versions": {"color": "1"}}, **scores})
    conditions = {"device": "cpu", "dtype": "float32", "threads": 2, "resolution": [32, 48], "frames": 8}
    timed = {"batches": {"1": {"median_s": 0.1, "p95_s": 0.2, "n": 9}}}
    write(layout.latency / "summary.json", {"conditions": conditions, "models": {"stage2": timed}})


def write(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def test_all_is_found_and_what_is_wrong_later_is_said(layout: Layout, run: Run, tmp_path: Path) -> None:
    known = gather(layout, "stage2")
    provenance, quality, latency = known.provenance, known.quality, known.latency
    assert quality and latency
    assert (provenance.git, provenance.stages, provenance.data, provenance.gates) == (CLEAN, UP_TO_DATE, PUSHED, GREEN)
    assert len(provenance.commit) == 40 and known.producer_run_id == "r7"
    assert (known.files.count, known.files.size, known.files.md5[-4:]) == (2, 100, ".dir")
    assert set(quality.figures) == {"held_out_reward", "vbench_total"}, "flicker is no matter of more or less"
    assert (quality.suite, quality.seeds, quality.n) == ("a1", "1, 2", 2)
    assert (latency.median_s, latency.resolution, latency.threads) == (0.1, "32x48", 2)

    shutil.rmtree(tmp_path / "remote")
    (layout.root / "src/code.py").write_text("x = 2\n")
    (layout.vbench / "stage2.json").unlink()
    later = gather(layout, "stage2")
    assert later.provenance.git == "src/code.py is not as committed"
    assert later.provenance.stages == "stage2, vbench are not as recorded"
    assert later.provenance.data.endswith("not in the remote")
    assert later.quality is None

    run("dvc", "remote", "remove", "store")
    run("git", "rm", "-q", "--cached", "dvc.lock")
    run("git", "commit", "-q", "-a", "-m", "without a lock")
    run("git", "push", "-q", "origin", "HEAD:main")
    without = gather(layout, "stage2").provenance
    assert without.data == "there is no DVC remote"
    assert without.git == "src/code.py is not what dvc.lock says was run; dvc.lock is not committed"


def test_code_that_nobody_else_can_get_is_named(layout: Layout, run: Run) -> None:
    for name in ("src/new.py", "flows/extra.py", "notes.txt"):
        (layout.root / name).parent.mkdir(exist_ok=True)
        (layout.root / name).touch()
    assert git_word(layout) == "flows/extra.py, src/new.py are unknown to git"
    for name in ("src/new.py", "flows/extra.py"):
        (layout.root / name).unlink()
    run("git", "update-index", "--assume-unchanged", "src/code.py")
    (layout.root / "src/code.py").write_text("x = 3\n")
    run("dvc", "commit", "-q", "-f", "stage2")
    run("git", "commit", "-q", "-m", "a run of other code", "dvc.lock")
    assert git_word(layout) == (
        "src/code.py is not what dvc.lock says was run; the commit is on no branch of a git remote: git push"
    )
    run("git", "update-index", "--no-assume-unchanged", "src/code.py")
    run("git", "commit", "-q", "-m", "the code", "src/code.py")
    run("git", "push", "-q", "origin", "HEAD:main")
    assert git_word(layout) == CLEAN


def git_word(layout: Layout) -> str:
    return module._git(layout.root, layout.root / "dvc.lock", ["stage2", "vbench", "absent"])


def test_a_run_whose_server_was_away_is_known_by_its_key(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_dvc", lambda *_: {"stages": UP_TO_DATE, "data": PUSHED})
    write(layout.reports / "runs/stage2.json", {"run_id": None, "run_key": "k9"})
    assert gather(layout, "stage2").producer_run_id == "k9"


def test_a_gate_that_fails_now_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(stage: str, layout: Layout) -> None:
        if stage == "encode":
            raise UserError("index.parquet breaks its contract:\n  details", "mend it")

    monkeypatch.setattr(module.gates, "check", check)
    assert module._gates(layout) == "encode: index.parquet breaks its contract:"


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'stage2'"):
        gather(Layout(tmp_path), "stge2")
    with pytest.raises(UserError, match="there is no model"):
        gather(Layout(tmp_path), "stage1")
