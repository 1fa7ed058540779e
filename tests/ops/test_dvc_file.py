"""dvc.yaml against the code it speaks of: layout.py, params.py, the stages and what they import."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hummingbird.layout import Layout
from hummingbird.ops import codedeps, gates, runner, snapshot, tracking
from hummingbird.params import Params

ROOT = Path(__file__).parents[2]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
LAYOUT = Layout()
MAKES = {  # stage -> what it makes besides its metrics and its record
    "foundation": [LAYOUT.foundation],
    "download": [LAYOUT.raw, LAYOUT.truth.parent, LAYOUT.sheets("download")],
    "measure": [LAYOUT.measure],
    "vqa_filter": [LAYOUT.clip_table("vqa_filter").parent, LAYOUT.sheets("vqa_filter")],
    "motion_filter": [LAYOUT.clip_table("motion_filter").parent, LAYOUT.sheets("motion_filter")],
    "recaption": [LAYOUT.clip_table("recaption").parent],
    "encode": [LAYOUT.latents],
    "decoder": [LAYOUT.decoder, LAYOUT.sheets("decoder"), LAYOUT.curve("decoder")],
    "stage1": [LAYOUT.stage1, LAYOUT.sheets("stage1"), LAYOUT.curve("stage1")],
    "stage2": [LAYOUT.stage2, LAYOUT.sheets("stage2"), LAYOUT.curve("stage2")],
    "reneg": [LAYOUT.reneg, LAYOUT.sheets("reneg"), LAYOUT.curve("reneg")],
    "vbench": [LAYOUT.vbench],
    "latency": [LAYOUT.latency],
    "report": [LAYOUT.reports / name for name in ("index.html", "funnel.svg", "summary.json")],
}


def outputs(stage: str) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in snapshot.paths(STAGES[stage].get(kind, []))]


def data_deps(stage: str) -> list[str]:
    given = (*codedeps.CODE, "assets/", "checkpoints/")  # by git
    return [path for path in snapshot.paths(STAGES[stage]["deps"]) if not path.startswith(given)]


def made_before(stage: str) -> Iterator[str]:
    for earlier in STAGES:
        if earlier == stage:
            return
        yield from outputs(earlier)


def test_the_stages_are_those_of_the_code_in_order() -> None:
    assert list(STAGES) == list(MAKES)
    assert set(STAGES) == set(runner.stage_names())


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_are_those_of_the_layout(stage: str) -> None:
    common = [LAYOUT.metrics(stage), tracking.record_path(LAYOUT, stage)]
    assert sorted(outputs(stage)) == sorted(path.as_posix() for path in (*MAKES[stage], *common))
    assert STAGES[stage]["cmd"] == f"hummingbird stage {stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_reads_was_made_before(stage: str) -> None:
    earlier = [Path(path) for path in made_before(stage)]
    for path in map(Path, data_deps(stage)):
        assert any(path.is_relative_to(made) for made in earlier), f"nothing before {stage} makes {path}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_own_parameters_and_the_seed(stage: str) -> None:
    own = [stage] if stage in Params.model_fields else []
    assert STAGES[stage]["params"] == ["seed", *own]


@pytest.mark.parametrize("stage", STAGES)
def test_code_dependencies_are_what_the_stage_imports(stage: str) -> None:
    declared = [path for path in snapshot.paths(STAGES[stage]["deps"]) if path.startswith(codedeps.CODE)]
    assert sorted(declared) == codedeps.code_of(stage, ROOT), "run: python -m hummingbird.ops.codedeps"


def test_code_dependencies_leave_the_orchestration_out() -> None:
    for stage in STAGES:
        assert not [path for path in codedeps.code_of(stage, ROOT) if path.startswith("src/hummingbird/ops/")]


def test_only_evaluation_reads_the_truth() -> None:
    assert {stage for stage in STAGES if "data/truth" in data_deps(stage)} == {"report"}


@pytest.mark.parametrize("stage", gates.WRITES)
def test_tables_behind_gates_lie_in_outputs(stage: str) -> None:
    table = gates.table_of(stage, LAYOUT)
    assert any(table.is_relative_to(path) for path in outputs(stage))


@pytest.mark.parametrize("stage", gates.READS)
def test_tables_in_front_of_gates_are_dependencies(stage: str) -> None:
    table = gates.table_of(gates.READS[stage], LAYOUT)
    assert any(table.is_relative_to(path) for path in data_deps(stage))


def test_rewriting_code_dependencies_changes_nothing_else() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    again = codedeps.rewrite(text, ROOT)

    def rest(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.strip("- ").startswith(codedeps.CODE)]

    assert rest(again) == rest(text)
    assert codedeps.rewrite(again, ROOT) == again
