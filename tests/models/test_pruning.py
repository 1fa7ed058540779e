"""Pruning plans: which fit, which do not and why, and the table of blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from hummingbird.cli import app
from hummingbird.errors import UserError
from hummingbird.models.blocks import block_table
from hummingbird.models.convert import unet
from hummingbird.models.convert.public import UNETS
from hummingbird.models.pruning import PLANS, PruningPlan, check_plan, count_parameters, find_plan, key_map, prune
from hummingbird.models.unet import VideoUNet, miniature_unet

runner = CliRunner()


@pytest.fixture(scope="module")
def teacher() -> VideoUNet:
    return unet.build_unet(UNETS["videocrafter2"])


def changed(**levels: tuple[tuple[int, ...], ...]) -> PruningPlan:
    """Plan 0.7b with other layers."""
    plan = PLANS["0.7b"]
    return PruningPlan(levels.get("down", plan.down), levels.get("up", plan.up), plan.mid_block)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            changed(up=((1, 2), (1, 2), (1, 2), (0, 2))),
            "layer 0 of up_blocks.2 would take 1280 channels and a skip connection of 640, but layer 1 of the "
            "teacher's up_blocks.2 takes 640 channels and a skip connection of 640",
        ),
        (
            changed(up=((1, 2), (1, 2), (0, 1), (0, 2))),
            "layer 1 of up_blocks.2 would take 640 channels and a skip connection of 320",
        ),
        (changed(down=((0,), (1,), (0,), (0,))), "layer 0 of down_blocks.1 would take 320 channels, but layer 1"),
        (changed(down=((0,), (0, 1), (0,), (0,))), "level 1 gives 3 skip connections on the way down"),
        (changed(down=((0,), (2,), (0,), (0,))), r"down_blocks.1 keeps [2] of the teacher's layers [0, 1]"),
        (changed(down=((0,), (0,), (0,), ())), r"down_blocks.3 keeps [] of the teacher's layers [0, 1]"),
        (changed(down=((0,), (0,))), "the teacher has 4 levels, the plan 2 down and 4 up"),
    ],
)
def test_a_plan_that_shapes_forbid_is_refused_with_the_widths(
    teacher: VideoUNet, plan: PruningPlan, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        check_plan(plan, teacher)
    assert message in caught.value.problem


def test_other_plans_are_allowed_where_widths_agree(teacher: VideoUNet) -> None:
    for plan in (changed(up=((0, 1), (0, 2), (0, 2), (0, 2))), changed(down=((1,), (0,), (0,), (1,)))):
        assert count_parameters(prune(teacher, plan, guidance_dim=None)) == 772_009_860


@torch.no_grad()
def test_levels_may_keep_different_numbers_of_layers() -> None:
    torch.manual_seed(0)
    teacher = miniature_unet(96).eval()
    plan = PruningPlan(down=((0,), (0, 1)), up=((0, 1, 2), (0, 2)), mid_block=False)
    student = prune(teacher, plan, guidance_dim=None).eval()
    assert [len(block.resnets) for block in (*student.down_blocks, *student.up_blocks)] == [1, 2, 3, 2]
    assert set(key_map(plan, teacher)) == set(student.state_dict())
    sample, text = torch.randn(1, 16, 3, 4, 4), torch.randn(1, 24, 96)
    assert student(sample, 5, text).sample.shape == sample.shape


def test_a_students_student_keeps_its_guidance_embedding() -> None:
    plan = PruningPlan(down=((0,), (0,)), up=((0, 2), (0, 2)), mid_block=True)
    student = prune(miniature_unet(96), plan, guidance_dim=32)
    torch.nn.init.ones_(student.time_embedding.cond_proj.weight)
    whole = PruningPlan(down=((0,), (0,)), up=((0, 1), (0, 1)), mid_block=False)
    assert prune(student, whole, guidance_dim=32).time_embedding.cond_proj.weight.eq(1).all()
    assert prune(student, whole, guidance_dim=None).time_embedding.cond_proj is None


def test_plans_are_found_by_name_and_in_files(tmp_path: Path) -> None:
    assert find_plan("0.9b").mid_block and not find_plan("0.7b").mid_block
    path = tmp_path / "plan.yaml"
    path.write_text("{down: [[0], [0]], up: [[0, 2], [0, 2]], mid_block: false}")
    assert find_plan(str(path)) == PruningPlan(((0,), (0,)), ((0, 2), (0, 2)), mid_block=False)
    with pytest.raises(UserError) as caught:
        find_plan("0.7B")
    assert "did you mean '0.7b'?" in caught.value.next_step


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("down: 3", "down"),
        ("7", "the file"),
        ("{down: [[0]", "line 1"),
        ('{down: [[0], [0]], up: [[0, 2], [0, 2]], mid_block: "false"}', "mid_block"),
        ("{down: [[0.9], [0]], up: [[0, 2], [0, 2]], mid_block: false}", "down"),
        ("{down: ['01', [0]], up: [[0, 2], [0, 2]], mid_block: false}", "down"),
        ("{down: [[0], [0]], up: [[0, 2], [0, 2]], mid_block: false, extra: 1}", "extra"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match="is no pruning plan") as caught:
        find_plan(str(path))
    assert problem in caught.value.problem and "\n" not in caught.value.problem


def test_the_table_adds_up(teacher: VideoUNet) -> None:
    rows = block_table(teacher, PLANS["0.7b"])
    assert sum(row.parameters for row in rows) == count_parameters(teacher)
    kept = [row for row in rows if row.student]
    assert sum(row.parameters for row in kept) == 772_009_860
    # diffusers' network needs 12.58 and 7.96 TFLOP: it projects the text once for each frame, ours once
    assert 0.99 < sum(row.flops for row in rows) / 12.58e12 < 1
    assert 0.99 < sum(row.flops for row in kept) / 7.96e12 < 1
    by_name = {row.block: row for row in rows}
    assert by_name["up_blocks.2.2"].student == "up_blocks.2.1"
    assert by_name["mid_block"].student is None and by_name["mid_block"].parameters == 173_117_440


def test_the_command_shows_the_table_and_writes_a_student(tmp_path: Path) -> None:
    shown = runner.invoke(app, ["prune", "--plan", "0.7b", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "1,413,284,420" in shown.output and "772,009,860" in shown.output

    torch.manual_seed(0)
    miniature_unet(96).save_pretrained(tmp_path / "teacher")
    plan = tmp_path / "plan.yaml"
    plan.write_text("{down: [[0], [0]], up: [[0, 2], [0, 2]], mid_block: false}")
    options = ["prune", "--plan", str(plan), "--teacher", str(tmp_path / "teacher"), "--out", str(tmp_path / "student")]
    done = runner.invoke(app, options)
    assert done.exit_code == 0, done.output
    assert VideoUNet.from_pretrained(tmp_path / "student").mid_block is None

    assert runner.invoke(app, ["prune", "--plan", "0.7b", *options[3:]]).exit_code == 2  # four levels, two there
    assert "give --teacher and --out" in runner.invoke(app, options[:5]).stderr
