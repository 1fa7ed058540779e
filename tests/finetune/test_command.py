"""`hummingbird finetune`: what is refused before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hummingbird.cli import app
from hummingbird.params import Params, dump_params

runner = CliRunner()


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(dump_params(Params()))
    Path("clips").mkdir()
    Path("file").touch()
    Path("style.safetensors").mkdir()


@pytest.mark.parametrize(
    ("words", "problem", "next_step"),
    [
        (["--data", "none"], "there is no folder none", "docs/finetune.md"),
        (["--data", "clips"], "there is no model at artifacts/stage2/pipeline", "dvc repro stage2"),
        (["--data", "clips", "--from", "teacher"], "teacher takes no style", "stage1 or stage2"),
        (["--data", "clips", "--from", "stage3"], "unknown model 'stage3'", "stage1 or stage2"),
        (["--data", "clips", "--out", "x.bin"], "adapters are a .safetensors file", "--out"),
        (["--data", "clips", "--out", "style.safetensors"], "cannot write style.safetensors", "--out"),
        (["--data", "clips", "--out", "file/x.safetensors"], "cannot write file/x.safetensors", "writable"),
        (["--data", "clips", "--set", "finetune.lora.rnk=3"], "did you mean 'rank'", "names and values"),
        (["--data", "clips", "--set", "finetune.optim.batch_size=0"], "batch_size", "names and values"),
    ],
)
def test_bad_requests_are_refused_with_the_next_step(words: list[str], problem: str, next_step: str) -> None:
    result = runner.invoke(app, ["finetune", *words])
    assert result.exit_code == 2, result.output
    assert problem in result.stderr and next_step in result.stderr
    assert not Path("curated").exists()
    assert not list(Path().rglob("*.trial"))


def test_it_trains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["finetune", "--data", "clips", "--set", "training.processes=4"]
    assert "note: finetune trains in one process; training.processes = 4" in runner.invoke(app, words).stdout
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = runner.invoke(app, words)
    assert result.exit_code == 2
    assert "trains in one process" in result.stderr and "without torchrun" in result.stderr
