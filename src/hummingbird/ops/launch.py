"""Stages that train in several processes: torchrun starts them, the first runs the stage, the others train along."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import load_params
from hummingbird.runlog import SilentLog

TRAINING = ("decoder", "stage1", "stage2", "reneg")


def is_follower() -> bool:
    """Whether torchrun started this process to train along with the first one."""
    return _under_torchrun() and int(os.environ["RANK"]) > 0


def follow(stage: str, root: Path = Path()) -> None:
    """Train along in a stage that the first process runs, tracks and writes."""
    params = load_params(root / "params.yaml")
    importlib.import_module(f"hummingbird.stages.{stage}").run(params, Layout(root), SilentLog())


def start_together(stage: str, arguments: Sequence[str], root: Path = Path()) -> None:
    """Become torchrun, where ``training.processes`` asks for several and nothing has started them yet.

    Args:
        arguments: of the command line, which each process runs.

    Raises:
        UserError: more processes than GPUs.
    """
    if stage not in TRAINING or _under_torchrun():
        return
    processes = load_params(root / "params.yaml").training.processes
    if processes > 1:
        _check_gpus(processes)
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        os.execv(sys.executable, [sys.executable, *torchrun, "-m", "hummingbird", *arguments])


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _check_gpus(processes: int) -> None:
    import torch

    gpus = torch.cuda.device_count()
    if gpus and processes > gpus:
        raise UserError(
            f"training.processes is {processes}, but this machine has {gpus} GPU(s)",
            f"set it to {gpus} in params.yaml; for more machines, start torchrun on each (docs/training.md)",
        )
