"""The study of a teacher's blocks: what it measures, that it resumes exactly, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from hummingbird.cli import app
from hummingbird.data.latent_shards import EMPTY_PROMPT, EncodedClip, write_latent_shard
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.miniature.teacher import miniature_scheduler
from hummingbird.models.leave_out import blocks
from hummingbird.models.pruning import PruningPlan, prune
from hummingbird.models.unet import VideoUNet, miniature_unet
from hummingbird.params import Params, dump_params
from hummingbird.prune.study import Request, study
from hummingbird.runlog import SilentLog, T

runner = CliRunner()
OPTIONS = ["--batches", "2", "--batch-size", "3", "--seed", "4", "--out", "study"]
FILES = ("importance.json", "importance.csv")


def write_latents(folder: Path, channels: int = 16, side: int = 4, text: int = 96) -> None:
    folder.mkdir(parents=True)
    g = torch.Generator().manual_seed(2)
    clips = [
        EncodedClip(
            f"c{number}",
            torch.randn(8, channels, side, side, generator=g),
            torch.randn(5, text, generator=g),
            8.0,
            f"caption {number}",
        )
        for number in range(7)
    ]
    write_latent_shard(folder / "0.safetensors", clips).write_parquet(folder / "index.parquet")
    save_file({"text": torch.randn(1, 5, text, generator=g)}, folder / EMPTY_PROMPT)


def write_project(root: Path) -> None:
    """A random teacher, latents and valid parameters."""
    torch.manual_seed(0)
    unet = miniature_unet(96)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.05)
    unet.save_pretrained(root / "artifacts/foundation/unet")
    miniature_scheduler().save_pretrained(root / "artifacts/foundation/scheduler")
    write_latents(root / "data/latents")
    (root / "params.yaml").write_text(dump_params(Params()))


@pytest.fixture
def project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project to study, as the current folder."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(log: SilentLog | None = None, **changes: Any) -> dict[str, Any]:
    """Study in the current folder; the content of importance.json."""
    values: dict[str, Any] = {
        "teacher": Path("artifacts/foundation"), "latents": Path("data/latents"), "plan": "0.7b", "batches": 2,
        "batch_size": 3, "seed": 4, "device": "cpu", "out": Path("study"),
    }  # fmt: skip
    request = Request(**values | changes)
    study(request, Params(), Layout(), log or SilentLog())
    content: dict[str, Any] = json.loads((request.out / "importance.json").read_text())
    return content


class StoppingLog(SilentLog):
    """Ends the process by SIGKILL, or raises, after so many changes."""

    def __init__(self, after: int, signal: int | None = None) -> None:
        self.after, self.signal, self.measured = after, signal, 0

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        for item in items:
            if description == "leaving out":
                if self.measured == self.after:
                    if self.signal is not None:
                        os.kill(os.getpid(), self.signal)
                    raise KeyboardInterrupt
                self.measured += 1
            yield item


def test_the_command_writes_figures_a_table_and_a_plot(project_folder: Path) -> None:
    done = runner.invoke(app, ["prune", "study", *OPTIONS])
    assert done.exit_code == 0, done.output
    content = json.loads((project_folder / "study/importance.json").read_text())
    names = [row["name"] for row in content["rows"]]
    plans = [f"plan {plan}, {how}" for plan in ("0.7b", "0.9b") for how in ("left out", "pruned")]
    assert names == [*blocks(miniature_unet(96)), *plans]
    assert all(name in done.stdout for name in names)
    assert (content["samples"], content["seed"], content["clips"]) == (6, 4, 7)
    rows = {row["name"]: row for row in content["rows"]}
    assert {name for name in names if rows[name]["kept"] is False} == {
        "down_blocks.0.1", "down_blocks.1.1", "mid_block", "up_blocks.0.1", "up_blocks.1.1"
    }  # fmt: skip
    dropped = [row for row in content["rows"] if row["kept"] is False]
    assert rows["plan 0.7b, pruned"]["parameters"] == sum(row["parameters"] for row in dropped)
    middle = rows["mid_block"]
    assert middle["loss"] == pytest.approx(middle["relative"] * content["teacher_variance"])
    assert middle["relative_per_million_parameters"] == pytest.approx(middle["relative"] / middle["parameters"] * 1e6)
    assert pl.read_csv(project_folder / "study/importance.csv")["name"].to_list() == names
    with Image.open(project_folder / "study/importance.png") as picture:
        assert picture.width > 500
    assert not list((project_folder / ".work/prune_study").iterdir())


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_stopped_study_goes_on_where_it_was(project_folder: Path, after: int) -> None:
    run(out=Path("whole"))
    with pytest.raises(KeyboardInterrupt):
        run(StoppingLog(after))
    log = StoppingLog(99)
    assert run(log)["rows"]
    assert log.measured == len(blocks(miniature_unet(96))) + 4 - after
    for name in FILES:
        assert Path("study", name).read_bytes() == Path("whole", name).read_bytes()


def test_kill_9_loses_no_block_that_was_measured(project_folder: Path) -> None:
    script = textwrap.dedent(
        """
        import signal, sys
        sys.path.insert(0, sys.argv[1])
        import test_study as t
        t.run(t.StoppingLog(5, signal.SIGKILL))
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not Path("study").exists()
    log = StoppingLog(99)
    run(log)
    assert log.measured == len(blocks(miniature_unet(96))) + 4 - 5
    run(out=Path("whole"))
    for name in FILES:
        assert Path("study", name).read_bytes() == Path("whole", name).read_bytes()


def test_another_seed_or_teacher_never_resumes(project_folder: Path) -> None:
    whole = run()
    for changes in ({"seed": 5}, {"batch_size": 2}):
        with pytest.raises(KeyboardInterrupt):
            run(StoppingLog(3))
        assert run(**changes)["rows"] != whole["rows"]
    unet = VideoUNet.from_pretrained("artifacts/foundation/unet")
    with torch.no_grad():
        unet.conv_norm_out.weight.mul_(2)
    unet.save_pretrained("artifacts/foundation/unet")
    log = StoppingLog(99)
    run(log)
    assert log.measured == len(whole["rows"])


def test_plans_of_a_file_and_teachers_without_a_middle(project_folder: Path) -> None:
    plan = PruningPlan(down=((0, 1),) * 2, up=((0, 1, 2),) * 2, mid_block=False)
    prune(miniature_unet(96), plan, guidance_dim=None).save_pretrained("bare")
    Path("all.yaml").write_text("{down: [[0, 1], [0, 1]], up: [[0, 1, 2], [0, 1, 2]], mid_block: false}")
    content = run(teacher=Path("bare"), plan="all.yaml")
    rows = {row["name"]: row for row in content["rows"]}
    assert "mid_block" not in rows and "plan 0.9b, pruned" not in rows  # 0.9B keeps a middle that is not there
    assert rows["plan all.yaml, pruned"]["relative"] == rows["plan all.yaml, left out"]["relative"] == 0
    assert all(row["kept"] is not False for row in content["rows"])


def broken(case: str) -> dict[str, Any]:
    """Options of a study that must be refused; makes what they name."""
    if case == "student":
        plan = PruningPlan(down=((0,), (0,)), up=((0, 2), (0, 2)), mid_block=False)
        prune(miniature_unet(96), plan).save_pretrained("student")
        return {"teacher": Path("student")}
    if case == "folder":
        return {"teacher": Path("data")}
    if case == "file":
        Path("model.ckpt").write_bytes(b"no checkpoint")
        return {"teacher": Path("model.ckpt")}
    if case == "latents":
        write_latents(Path("other"), channels=4, side=3, text=32)
        return {"latents": Path("other")}
    if case == "infinite":
        unet = VideoUNet.from_pretrained("artifacts/foundation/unet")
        torch.nn.init.constant_(unet.conv_out.bias, float("inf"))
        unet.save_pretrained("infinite")
        return {"teacher": Path("infinite")}
    Path("deep.yaml").write_text("{down: [[0], [0], [0]], up: [[0, 2], [0, 2], [0, 2]], mid_block: false}")
    return {"plan": "deep.yaml"}


@pytest.mark.parametrize(
    ("case", "problem", "step"),
    [
        ({"teacher": Path("nowhere")}, "there is no teacher at nowhere", "dvc repro foundation"),
        ("folder", "data holds no UNet", "unet/config.json"),
        ("file", "model.ckpt", ""),
        ("student", "it is a student", "name the teacher that it was made from"),
        ({"latents": Path("nowhere")}, "no latents in nowhere", "dvc repro encode"),
        (
            "latents",
            "they have 4 channels, the teacher takes 16; they are 3 x 3, the teacher takes",
            "dvc repro encode",
        ),
        ("latents", "their text is 32 wide, the teacher's 96", "--latents"),
        ({"plan": "0.7B"}, "there is no plan or file '0.7B'", "did you mean '0.7b'?"),
        ("deep", "the teacher has 2 levels, the plan 3 down and 3 up", "change the plan there"),
        ({"device": "cuda:99"}, "cannot compute on 'cuda:99'", "hummingbird doctor"),
        ("infinite", "a prediction of the teacher is not finite", "dvc repro encode"),
    ],
)
def test_what_cannot_be_studied_is_refused_with_the_next_step(
    project_folder: Path, case: str | dict[str, Any], problem: str, step: str
) -> None:
    with pytest.raises(UserError) as caught:
        run(**(broken(case) if isinstance(case, str) else case))
    assert problem in caught.value.problem
    assert step in caught.value.next_step
    assert not Path("study").exists()


def test_a_work_file_that_is_damaged_is_named(project_folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(StoppingLog(2))
    [path] = Path(".work/prune_study").glob("*/losses.json")
    path.write_text(path.read_text()[:40])
    with pytest.raises(UserError, match=r"delete it to start over: rm .*losses\.json"):
        run()


def test_the_command_beside_it_still_asks_for_a_plan_and_names_the_nearest_command() -> None:
    assert "did you mean 'study'" in runner.invoke(app, ["prune", "studyy"]).stderr.lower()
    assert "hummingbird prune study" in runner.invoke(app, ["prune"]).stderr
    mixed = runner.invoke(app, ["prune", "--plan", "0.7b", "study"])
    assert mixed.exit_code == 2
    assert "hummingbird prune study" in mixed.stderr
