"""Trains in processes that are killed by SIGKILL in mid-training, and in one that is not; run by test_kill.py.

    python killed_work.py FOLDER SEED

Imports cost ten times what the tiny trainings do, so all processes are forked from this one, which does nothing itself.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from evaluation.untrained import save_project, short_params
from hummingbird.layout import Layout
from hummingbird.miniature import teacher
from hummingbird.params import Training, with_overrides
from hummingbird.runlog import SilentLog
from hummingbird.stages import reneg, stage1, stage2
from hummingbird.training.records import fingerprint
from hummingbird.training.trainer import Trainer

KILLS = 3
EVERY = 2  # steps between checkpoints: a kill loses one step or none
STEPS = {"stage1": 8, "stage2": 6, "reneg": 6, "teacher": 6}  # an even number to each phase
PAIR_STEPS = 8
TRAINING = Training(checkpoint_every_steps=EVERY, checkpoint_every_s=1e9)
PARAMS = with_overrides(
    short_params(6),
    {
        "stage1.distillation.steps": 4,
        "stage1.consistency.steps": 4,
        "stage2.optim.sample_every": 2,
        "training.checkpoint_every_steps": EVERY,
        "training.checkpoint_every_s": 1e9,
        "training.guard.min_spread": 0.0,  # untrained networks draw flat grey
        "training.guard.max_flicker": 1.0,
    },
)
PAIR = with_overrides(PARAMS, {"stage1.distillation.accumulate": 2, "stage1.consistency.accumulate": 2})


class KillingLog(SilentLog):
    """Kills its process when the loss of step ``at`` is logged, before anything is saved; notes the first step of each
    process."""

    def __init__(self, notes: Path, at: int | None = None) -> None:
        self.notes, self.at, self.started = notes, at, False

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        if step is None or "loss" not in values:  # a validation's figures
            return
        if not self.started:
            self.started = True
            with self.notes.open("a") as file:
                file.write(f"{step}\n")
        if step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def train_teacher(project: Path, log: SilentLog) -> None:
    teacher.Trainer = partial(Trainer, training=TRAINING)  # type: ignore[misc, assignment]
    teacher.train(Layout(project).foundation, seed=5, budget=STEPS["teacher"] / 3000, work=project / ".work", log=log)


#: Name -> (training, where it puts what it made).
SUBJECTS: dict[str, tuple[Callable[[Path, SilentLog], Any], str]] = {
    "stage1": (lambda project, log: stage1.run(PARAMS, Layout(project), log), "artifacts/stage1"),
    "stage2": (lambda project, log: stage2.run(PARAMS, Layout(project), log), "artifacts/stage2"),
    "reneg": (lambda project, log: reneg.run(PARAMS, Layout(project), log), "artifacts/reneg"),
    "teacher": (train_teacher, "artifacts/foundation/unet"),  # last: the others read what it overwrites
}


def forked(work: Callable[[], Any], environments: Sequence[dict[str, str]] = ({},)) -> list[int]:
    """Run ``work`` in a process for each environment; the return codes, negative for a signal. Once one has failed, the
    others are killed, as torchrun does."""
    running = {}
    for rank, environment in enumerate(environments):
        child = os.fork()
        if child == 0:
            try:
                os.environ.update(environment)
                torch.set_num_threads(1)
                work()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        running[child] = rank
    codes = [0] * len(environments)
    while running:
        child, status = os.wait()
        codes[running.pop(child)] = os.waitstatus_to_exitcode(status)
        if status:
            for other in running:
                os.kill(other, signal.SIGKILL)
    return codes


def whole(project: Path, subject: str) -> None:
    """Train without a kill."""
    train, _ = SUBJECTS[subject]
    assert forked(lambda: train(project, KillingLog(project / f"{subject}.starts"))) == [0]


def chain(project: Path, subject: str, kills: list[int]) -> None:
    """Train; be killed at each of these steps in turn; train on to the end."""
    train, _ = SUBJECTS[subject]
    for at in kills:
        assert forked(lambda at=at: train(project, KillingLog(project / f"{subject}.starts", at))) == [-signal.SIGKILL]
    whole(project, subject)


def torn(project: Path, subject: str, at: int) -> None:
    """Train; be killed halfway through writing what belongs to step ``at`` or a later one; train on to the end."""
    train, _ = SUBJECTS[subject]
    save = torch.save

    def work() -> None:
        def half(values: dict[str, Any], file: BinaryIO) -> None:
            if values["step"] < at:
                return save(values, file)
            whole = io.BytesIO()
            save(values, whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        torch.save = half
        train(project, KillingLog(project / f"{subject}.starts"))

    assert forked(work) == [-signal.SIGKILL]
    whole(project, subject)


def found(project: Path, subject: str, kills: list[int]) -> dict[str, Any]:
    """What came of it: hashes of the weights and of the series, and at which step each process began.

    (Configurations are left out: diffusers writes into them from which folder a network was loaded.)
    """
    made = sorted((project / SUBJECTS[subject][1]).rglob("*.safetensors"))
    curve = Layout(project).curve(subject)
    starts = (project / f"{subject}.starts").read_text().split()
    return {"kills": kills, "starts": [int(step) for step in starts], "sha256": fingerprint(*made, curve)}


def pair(project: Path, at: int | None) -> list[int]:
    """Stage 1 by two processes in the environment that torchrun gives them; the second is killed at step ``at``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}

    def work() -> None:
        second = os.environ["RANK"] == "1"
        log = KillingLog(project / f"stage1.starts{os.environ['RANK']}", at if second else None)
        stage1.run(PAIR, Layout(project), log)

    return forked(work, [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"])


def killed_pair(folder: Path, rng: random.Random) -> dict[str, Any]:
    """Two processes to the end, and two others of which one is killed in mid-training."""
    at = rng.randrange(EVERY, PAIR_STEPS)
    assert pair(folder / "pair", None) == [0, 0]
    codes = pair(folder / "killed_pair", at)
    assert codes[1] == -signal.SIGKILL and codes[0] != 0, codes
    assert pair(folder / "killed_pair", None) == [0, 0]
    outcome = {}
    for name in ("pair", "killed_pair"):
        shutil.copyfile(folder / name / "stage1.starts0", folder / name / "stage1.starts")
        outcome[name] = found(folder / name, "stage1", [] if name == "pair" else [at])
    return outcome


def main(folder: Path, seed: int) -> None:
    """Write ``results.json`` into ``folder``."""
    rng = random.Random(seed)
    assert forked(lambda: save_project(folder / "whole")) == [0]
    for copy in ("killed", "torn", "pair", "killed_pair"):
        shutil.copytree(folder / "whole", folder / copy)
    results: dict[str, Any] = {}
    for subject, steps in STEPS.items():
        kills = sorted(rng.sample(range(steps), KILLS))
        whole(folder / "whole", subject)
        chain(folder / "killed", subject, kills)
        results[subject] = {name: found(folder / name, subject, kills) for name in ("whole", "killed")}
    shutil.copytree(folder / "whole/artifacts/stage1", folder / "torn/artifacts/stage1", dirs_exist_ok=True)
    at = rng.randrange(1, STEPS["stage2"] + 1)
    torn(folder / "torn", "stage2", at)
    results["torn"] = found(folder / "torn", "stage2", [at])
    results["pair"] = killed_pair(folder, rng)
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
