"""Two processes train as one does: the same parts, the same draws, the same weights; killed and resumed alike."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


def two_processes(strategy: str, work: Path, kill_at: int = 0) -> dict[str, Any]:
    """What two processes made; an empty result where they were killed."""
    result = work.with_suffix(".pt")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = Path(__file__).with_name("together.py")
    done = subprocess.run(
        [sys.executable, *torchrun, str(script), strategy, str(work), str(result), str(kill_at)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (kill_at == 0), done.stderr[-3000:]
    found: dict[str, Any] = torch.load(result, weights_only=True) if result.is_file() else {}
    return found


def in_this_process(work: Path) -> dict[str, Any]:
    """What one process makes in a single thread, as each of the two has."""
    together = runpy.run_path(str(Path(__file__).with_name("together.py")))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network, history, _ = together["train"]("ddp", work)
    torch.set_num_threads(threads)
    return {"history": history, "weights": network.state_dict()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_this_process(tmp_path_factory.mktemp("alone"))


@pytest.mark.slow
def test_killed_and_resumed_processes_equal_one_undisturbed_process(tmp_path: Path, alone: dict[str, Any]) -> None:
    """Bit for bit: the parts of a step are the same, whoever computes them, and there are two of them to add."""
    assert two_processes("ddp", tmp_path / "cut", kill_at=9) == {}  # in the second phase, after a validation
    together = two_processes("ddp", tmp_path / "cut")
    assert together["history"] == alone["history"]
    for name, weight in alone["weights"].items():
        assert torch.equal(weight, together["weights"][name]), name


@pytest.mark.slow
def test_sharded_weights_come_to_the_same(tmp_path: Path, alone: dict[str, Any]) -> None:
    """Over two phases, with a validation by averaged weights in between, killed and resumed."""
    assert two_processes("fsdp", tmp_path / "work", kill_at=9) == {}
    sharded = two_processes("fsdp", tmp_path / "work")
    for here, there in zip(sharded["history"], alone["history"], strict=True):
        assert here == pytest.approx(there, rel=1e-3)
    for name, weight in alone["weights"].items():  # Adam turns the rounding of a gradient near zero into a step
        distance = (sharded["weights"][name] - weight).norm() / weight.norm().clamp(min=0.1)
        assert distance < 0.02, name
