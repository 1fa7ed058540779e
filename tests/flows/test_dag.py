from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.dag import changed_stages, read_dag
from hummingbird.errors import UserError

ROOT = Path(__file__).parents[2]


def test_edges_of_the_flow_are_those_of_dvc() -> None:
    """Against the graph that `dvc dag` prints, an independent way to it."""
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--dot"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    arrows = [line.strip(" ;").split(" -> ") for line in shown.splitlines() if "->" in line]
    assert read_dag(ROOT).edges == {(first.strip('"'), last.strip('"')) for first, last in arrows}


def test_stages_come_after_what_they_need() -> None:
    seen: set[str] = set()
    for stage, needs in read_dag(ROOT).needs.items():
        assert set(needs) <= seen
        seen.add(stage)


def test_stages_say_what_they_run_on() -> None:
    dag = read_dag(ROOT)
    assert {stage for stage, meta in dag.meta.items() if meta.alone} == {"latency"}
    on_cpu = {stage for stage, meta in dag.meta.items() if meta.resource == "cpu"}
    assert on_cpu == {"download", "vqa_filter", "motion_filter", "report"}


def test_a_wrong_meta_is_explained(toys: Path) -> None:
    text = (toys / "dvc.yaml").read_text()
    (toys / "dvc.yaml").write_text(text.replace("  b:\n", "  b:\n    meta: {resource: gppu, timeout_s: 0}\n"))
    with pytest.raises(
        UserError, match=r"resource = 'gppu'.*did you mean 'gpu'.*timeout_s = 0: must be .* greater than"
    ):
        read_dag(toys)


def test_upstream_and_downstream(toys: Path) -> None:
    dag = read_dag(toys)
    assert dag.edges == {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")}
    assert set(dag.upstream(["b"]).needs) == {"a", "b"}
    assert dag.upstream(None) is dag
    assert dag.downstream({"c"}) == {"c", "d"}
    with pytest.raises(UserError, match="no stage 'x'"):
        dag.upstream(["x"])


def test_changed_stages_are_those_dvc_names(toys: Path) -> None:
    dag = read_dag(toys)
    assert changed_stages(dag, toys) == {"a", "b", "c", "d"}


def test_a_folder_without_pipeline_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="DVC cannot read"):
        read_dag(tmp_path)


def test_a_broken_pipeline_file_is_explained(toys: Path) -> None:
    (toys / "dvc.yaml").write_text("stages: [nonsense")
    with pytest.raises(UserError, match="DVC cannot read"):
        read_dag(toys)
