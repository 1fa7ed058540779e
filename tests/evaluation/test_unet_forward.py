"""The benchmark of a forward pass, at a tiny size: what it writes, and that both networks compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from evaluation.latency import machine, unet_forward
from evaluation.latency.operations import kind_of, profile_operations
from hummingbird.errors import UserError

CPU = torch.device("cpu")
app = typer.Typer()
app.command()(unet_forward.main)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "deeper" / "figures.json"
    options = ["--size", "tiny", "--modes", "float32,bfloat16", "--repeats", "3", "--out", str(path)]
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.startswith(path.with_suffix(".txt").read_text().strip())
    return path


def test_figures_come_with_all_that_they_depend_on(written: Path) -> None:
    figures = json.loads(written.read_text())
    where = figures["conditions"]
    assert where["threads"] == torch.get_num_threads() and where["torch"] == torch.__version__
    assert {"device", "bfloat16_in_hardware", "diffusers", "commit", "uncommitted_changes"} <= where.keys()
    assert figures["plan"] == {
        "modes": ["float32", "bfloat16"],
        "repeats": 3,
        "warmup": 1,
        "seed": 0,
        "compiled": False,
    }
    assert figures["size"]["channels"] == [32, 64] and figures["parameters"] > 1e6
    for mode in ("float32", "bfloat16"):
        for name in ("diffusers", "ours"):
            run = figures["runs"][f"{mode}/{name}"]
            assert run["n"] == len(run["values_s"]) == 3 and run["median_s"] <= run["p95_s"]
            assert f"{mode}/{name}" in figures["peak_bytes_above_weights"]
        ratio = figures["diffusers_over_ours"][mode]
        assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert figures["gain_over_first_mode"].keys() == {"bfloat16"}


def test_the_networks_agree(written: Path) -> None:
    agreement = json.loads(written.read_text())["agreement"]
    assert agreement["float32"]["max_abs"] > 0.1  # no layer is left at zero
    assert agreement["float32"]["max_abs_difference"] < 2e-5
    assert agreement["bfloat16"]["max_abs_difference"] < 0.1


def test_shares_of_operations_add_up(written: Path) -> None:
    for kinds in json.loads(written.read_text())["profile"].values():
        assert {"linear", "convolutions", "attention", "normalisation", "activations"} <= kinds.keys()
        assert sum(kind["share"] for kind in kinds.values()) == pytest.approx(1)


def test_networks_share_their_weights() -> None:
    networks = unet_forward.build_networks(unet_forward.SIZES["tiny"], 0, CPU)
    theirs, ours = (dict(networks[name].named_parameters()) for name in ("diffusers", "ours"))
    assert theirs.keys() == ours.keys()
    assert all(weight.data_ptr() == ours[name].data_ptr() and weight.any() for name, weight in theirs.items())


def test_an_operation_belongs_to_what_called_it() -> None:
    assert kind_of(["aten::bmm", "aten::matmul", "aten::linear"]) == "linear"
    assert kind_of(["aten::copy_", "aten::contiguous", "aten::native_group_norm"]) == "copies"
    assert kind_of(["aten::empty", "aten::slow_conv3d_forward", "aten::conv3d"]) == "convolutions"
    assert kind_of(["aten::_scaled_dot_product_flash_attention_for_cpu"]) == "attention"
    assert kind_of(["aten::unknown"]) == "other"


def test_a_profile_counts_every_operation() -> None:
    x, w = torch.randn(64, 64), torch.randn(64, 64)
    found = profile_operations(lambda: torch.nn.functional.linear(x, w), CPU)
    assert found["linear"]["operations"] >= 1
    assert sum(kind["seconds"] for kind in found.values()) > 0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("flags\t\t: fpu avx512f avx512_bf16\n", True), ("flags\t\t: fpu avx512f\n", False), ("model name: x\n", None)],
)
def test_a_processors_bfloat16_is_looked_up(tmp_path: Path, text: str, wanted: bool | None) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert machine.has_bfloat16(CPU, path) is wanted
    assert machine.has_bfloat16(CPU, tmp_path / "missing") is None


def test_memory_is_that_of_the_call() -> None:
    peak = machine.measured_peak_bytes(lambda: torch.ones(40_000_000), CPU)
    assert peak is None or 150e6 < peak < 250e6


@pytest.mark.parametrize("options", [["--size", "middle"], ["--modes", "float32,bf16"]])
def test_an_unknown_option_is_an_error_that_helps(options: list[str]) -> None:
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, UserError) and "unknown option" in result.exception.problem


def test_results_of_other_conditions_do_not_overwrite_each_other() -> None:
    figures = {
        "name": "mid",
        "conditions": {"device": "CPU (R) X", "threads": 2},
        "plan": {"modes": ["float32", "bfloat16"], "compiled": False},
    }
    assert unet_forward.default_path(figures).name == "unet-forward-mid-cpu-r-x-2t-float32-bfloat16.json"
