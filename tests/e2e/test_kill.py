"""Kill -9 in mid-training, again and again: what comes out in the end is what an undisturbed run makes, bit for bit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the killed and the undisturbed trainings made. KILL_SEED repeats the kills of another run."""
    seed = os.environ.get("KILL_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"KILL_SEED={seed}")
    folder = tmp_path_factory.mktemp("kills")
    script = Path(__file__).with_name("killed_work.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), seed],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"KILL_SEED={seed}\n{done.stderr[-4000:]}"
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return {"seed": seed, **results}


@pytest.mark.parametrize("subject", ["stage1", "stage2", "reneg", "teacher"])
def test_three_kills_change_nothing(outcome: dict[str, Any], subject: str) -> None:
    whole, killed = outcome[subject]["whole"], outcome[subject]["killed"]
    note = f"KILL_SEED={outcome['seed']}, killed at {killed['kills']}"
    # Each process went on from the last checkpoint, which are two steps apart, and not from the start.
    assert killed["starts"] == [0, *(step // 2 * 2 for step in killed["kills"])], note
    assert whole["starts"] == [0]
    assert whole["sha256"] and killed["sha256"] == whole["sha256"], note


def test_a_kill_while_a_checkpoint_is_written_changes_nothing(outcome: dict[str, Any]) -> None:
    whole, torn = outcome["stage2"]["whole"], outcome["torn"]
    note = f"KILL_SEED={outcome['seed']}, killed at {torn['kills']}"
    assert len(torn["starts"]) == 2 and torn["starts"][1] < torn["kills"][0] + 1, note
    assert torn["sha256"] == whole["sha256"], note


def test_a_pair_of_processes_goes_on_as_exactly(outcome: dict[str, Any]) -> None:
    whole, killed = outcome["pair"]["pair"], outcome["pair"]["killed_pair"]
    note = f"KILL_SEED={outcome['seed']}, killed at {killed['kills']}"
    assert killed["starts"] == [0, killed["kills"][0] // 2 * 2], note
    assert killed["sha256"] == whole["sha256"], note
