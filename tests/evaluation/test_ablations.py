"""The ablations, in two steps of tiny networks: cells share what they can, resume, and come out as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evaluation import ablations
from evaluation.ablation_cells import TABLES, cells, scaled
from evaluation.ablation_tables import BEGIN, END, write_tables
from evaluation.ablations import Study, run_all, wanted_cells
from evaluation.untrained import save_project, short_params
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.miniature.dover import CONFIG
from hummingbird.models.dover import Dover
from hummingbird.models.probe import Probe
from hummingbird.params import Params, with_overrides

HEADER = {"seeds": [4], "steps_scale": 1.0, "prompts": 2, "guided_prompts": 1, "guided_steps": 2}


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    layout = save_project(tmp_path / "project")
    Probe().save_pretrained(layout.foundation / "probe")
    Dover(**CONFIG).save_pretrained(layout.foundation / "dover")
    return layout


def test_cells_are_trained_judged_and_not_run_again(
    project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = with_overrides(short_params(2), {"reneg.prompt_steps": 1})
    study = Study(project, params, tmp_path / "work", 4, 2, 1, 2)
    trained: list[tuple[str, str]] = []

    def noted(name: str) -> object:
        run = ablations.STAGES[name]

        def stage(params: Params, layout: Layout, log: object) -> object:
            trained.append((name, layout.root.name))
            return run(params, layout, log)

        return stage

    monkeypatch.setattr(ablations, "STAGES", {name: noted(name) for name in ablations.STAGES})
    names = ["anchor_none", "only_1a", "handwritten", "per_sample"]
    found = run_all([study], names)
    assert trained == [
        ("stage1", "stage1"),
        ("stage1", "only_1a"),
        ("stage2", "anchor_none"),
        ("reneg", "reneg"),
    ]
    assert found["anchor_none"]["4"]["n"] == 2 and found["per_sample"]["4"]["n"] == 1
    assert found["stage1"]["4"]["figures"] != found["only_1a"]["4"]["figures"]
    trained.clear()
    assert run_all([study], names) == found
    assert not trained

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_tables(page, {"header": {**HEADER, "conditions": {"commit": "abcdef012"}}, "cells": found})
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| none |" in text and "ReNeg, fitted further" in text and "random" not in text


def test_every_row_is_a_cell_and_every_cell_is_in_a_row() -> None:
    assert {name for rows in TABLES.values() for _, name in rows} == set(cells(Params()))
    steps = {name: _steps(cell.overrides) for name, cell in cells(Params()).items() if cell.kind == "stage1"}
    assert len(set(steps.values())) == 1


def _steps(overrides: Mapping[str, Any]) -> int:
    stage1 = with_overrides(Params(), overrides).stage1
    return sum(optim.steps for optim in (stage1.distillation, stage1.consistency) if optim)


def test_half_the_steps_are_validated_as_often() -> None:
    params = with_overrides(Params(), {"stage2.optim.steps": 80, "stage2.optim.sample_every": 40})
    half = scaled(params, 0.5)
    assert (half.stage2.optim.steps, half.stage2.optim.sample_every) == (40, 20)
    assert half.stage1.distillation.sample_every == 0


def test_a_misspelt_cell_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'image_only'"):
        wanted_cells(Params(), ["image_onl"])
    assert [cell.name for cell in wanted_cells(Params(), ["video_only"])] == ["stage1", "video_only"]
