"""The whole chain, short: `dvc repro` from fetched checkpoints to the report, and what must not run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from evaluation.short import SHORT
from hummingbird.params import dump_params, load_params, with_overrides

PROJECT = Path(__file__).parents[2]
MODELS = ("teacher", "pruned", "stage1", "stage2", "reneg")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (PROJECT / "assets/miniature/manifest.json").is_file(), reason="the miniature's checkpoints are not here"
    ),
]


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, **variables}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the checkout in which the short chain has been run once."""
    folder = tmp_path_factory.mktemp("chain")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    run(folder, "git", "init", "-q")
    file = folder / "params.yaml"
    file.write_text(dump_params(with_overrides(load_params(file), SHORT)))
    done = run(folder, "dvc", "repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield folder


def test_every_figure_of_the_report_is_there_and_finite(chain: Path) -> None:
    summary = json.loads((chain / "reports/summary.json").read_text())
    probed = [f"probe_{head}" for head in ("all", "color", "shape", "motion")]
    for model in MODELS:
        figures = summary["models"][model]
        for name in ("params", "steps", *probed, "held_out_reward", "flicker", "spread", "diversity"):
            assert isinstance(figures[name], int | float), (model, name)
        assert set(summary["vbench"][model]) >= {"quality", "semantic", "total", "dimensions"}
        assert len(summary["vbench"][model]["dimensions"]) == 16
        assert figures["latency_s"] > 0
    assert 0.5 <= summary["models"]["stage2"]["params"] / summary["models"]["teacher"]["params"] <= 0.6
    assert (summary["models"]["teacher"]["steps"], summary["models"]["stage2"]["steps"]) == (50, 4)
    assert summary["speedup_end_to_end"] > 1
    assert summary["captions"]["facts_after"] > summary["captions"]["facts_before"]
    assert summary["filters"]
    assert summary["run"]["peak_memory_bytes"] < 6e9


def test_stage_2_is_chosen_on_held_out_captions(chain: Path) -> None:
    figures = json.loads((chain / "reports/metrics/stage2.json").read_text())
    assert figures["best_step"] == 3
    assert -1 <= figures["best_held_out"] <= 1


def test_the_report_opens_without_a_network(chain: Path) -> None:
    page = (chain / "reports/index.html").read_text()
    assert 'src="http' not in page
    assert 'href="http' not in page.replace('href="https://github.com', "")
    assert "data:video/mp4" in page


def test_a_second_run_runs_nothing(chain: Path) -> None:
    done = run(chain, "dvc", "repro")
    assert done.returncode == 0
    assert "Running stage" not in done.stdout
    assert "up to date" in done.stdout + done.stderr


def test_one_knob_reruns_what_depends_on_it_and_nothing_else(chain: Path) -> None:
    file = chain / "params.yaml"
    before = file.read_text()
    params = yaml.safe_load(before)
    params["latency"]["student_repeats"] += 1
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    planned = run(chain, "dvc", "status", "--json")
    file.write_text(before)
    assert set(json.loads(planned.stdout)) == {"latency"}


def test_stages_are_children_of_one_run(chain: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{chain}/mlflow.db")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=100)
    parents = {r.data.tags.get("mlflow.parentRunId") for r in runs}
    roots = [r for r in runs if r.info.run_id in parents]
    assert len(roots) == 1
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == roots[0].info.run_id]
    stages = yaml.safe_load((chain / "dvc.yaml").read_text())["stages"]
    assert sorted(run.info.run_name for run in children) == sorted(stages)
    stage1 = next(r for r in children if r.info.run_name == "stage1")
    series = client.get_metric_history(stage1.info.run_id, "loss")
    assert sorted(point.step for point in series) == list(range(8))  # two phases of four steps, one after the other


def test_generate_writes_a_video(chain: Path) -> None:
    done = run(chain, "hummingbird", "generate", "a large plain red circle moves slowly left on sea", "--out", "x.mp4")
    assert done.returncode == 0, done.stderr
    from hummingbird.data.video_io import decode

    frames, _ = decode(chain / "x.mp4")
    assert len(frames) == 8


def test_a_damaged_checkpoint_is_refused_and_the_old_one_stays(chain: Path) -> None:
    victim = chain / "assets/miniature/vae/config.json"
    before = victim.read_bytes()
    kept = (chain / "artifacts/foundation/vae/config.json").read_bytes()
    victim.write_bytes(before + b" ")
    done = run(chain, "hummingbird", "stage", "foundation")
    victim.write_bytes(before)
    assert done.returncode == 2
    assert "is not the file its manifest names" in done.stderr
    assert "Traceback" not in done.stderr
    assert (chain / "artifacts/foundation/vae/config.json").read_bytes() == kept
