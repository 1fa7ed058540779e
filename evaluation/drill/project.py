"""The drill's project: a DVC graph ``prepare -> train, watch -> publish`` and what its stages said they did."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml

from hummingbird import telemetry
from hummingbird.files import write_json
from hummingbird.params import Params, dump_params

NEEDS = {"prepare": (), "train": ("prepare",), "watch": ("prepare",), "publish": ("train", "watch")}
PATIENCE = 600.0  # seconds for anything to happen on a busy machine
Point = tuple[str, int, float]  # name, step, value

T = TypeVar("T")


@dataclass
class Told:
    """What one run of a stage told its log."""

    stage: str
    key: str
    pid: int
    said: set[Point] = field(default_factory=set)  # the call had returned
    begun: set[Point] = field(default_factory=set)  # it had not: the run may have ended within it
    kept: set[str] = field(default_factory=set)  # names of artifacts


@dataclass(frozen=True)
class Project:
    """The project in ``folder``. What its stages say of themselves goes to ``record``, which is on another disk."""

    folder: Path
    record: Path
    stages: Sequence[str] = tuple(NEEDS)

    def make(self, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Write the files of the project. ``settings``: ``steps``, ``pause_s``, ``bucket`` of :mod:`.stage`."""
        self.record.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("stage.py"), self.folder / "stage.py")
        write_json(self.folder / "drill.json", {**settings, "record": str(self.record)})
        self.set_seed(0)
        graph = {
            name: {
                "cmd": f"{sys.executable} stage.py {name}",
                "deps": ["stage.py", *(f"made/{need}" for need in NEEDS[name])],
                "params": ["seed"],
                "outs": [f"made/{name}", f"reports/runs/{name}.json"],
            }
            for name in self.stages
        }
        (self.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}, sort_keys=False))
        self.call(["dvc", "init", "-q", "--no-scm"], environment)

    def set_seed(self, seed: int) -> None:
        """Change the parameter that every stage depends on, so that all are out of date."""
        (self.folder / "params.yaml").write_text(dump_params(Params(seed=seed)))

    def call(self, words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run ``python -m WORDS`` here.

        Raises:
            RuntimeError: it failed; what it said is in the message.
        """
        done = self.attempt(words, environment)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
        return done

    def attempt(self, words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """As :meth:`call`, for a command that may fail."""
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def told(self) -> dict[str, Told]:
        """What every run has said so far, by its key."""
        found = [_read(path) for path in sorted(self.record.glob("*.jsonl"))]
        return {told.key: told for told in found if told}

    def running(self, stage: str, known: set[str], step: int) -> psutil.Process:
        """Wait until a run of ``stage`` that is not among the ``known`` has come to ``step``; the process of it.

        Raises:
            TimeoutError: it did not.
        """

        def found() -> psutil.Process | None:
            for told in self.told().values():
                if told.stage == stage and told.key not in known and any(at >= step for _, at, _ in told.said):
                    return self._own(told.pid)
            return None

        return until(found, f"stage {stage} to come to step {step}")

    def _own(self, pid: int) -> psutil.Process:
        process = psutil.Process(pid)
        if Path(process.cwd()) != self.folder or "stage.py" not in process.cmdline():
            raise RuntimeError(f"process {pid} is none of this project's stages")
        return process

    def left_at_work(self) -> list[str]:
        """Command lines of the stages, and of DVC, that are at work in this project."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                if Path(process.cwd()) == self.folder and {"stage.py", "repro"} & set(words):
                    found.append(" ".join(words))
            except (psutil.Error, OSError):  # it has ended, or belongs to another user
                continue
        return found


def own_environment(home: Path) -> dict[str, str]:
    """The environment of all that the drill starts: no settings of the user's for servers or runs."""
    foreign = ("MLFLOW_", "PREFECT_", "AWS_", "RCLONE_", "DVC_", "HUMMINGBIRD_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    dvc = {"DVC_SITE_CACHE_DIR": str(home / "dvc-site"), "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc-global")}
    return kept | telemetry.SWITCHES | dvc


def until(look: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Look again and again until there is something to see.

    Raises:
        TimeoutError: there was nothing in ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:.0f} s for {what}")
        time.sleep(0.3)
    return found


def _read(path: Path) -> Told | None:
    """One run's record; None if there is none yet. The last line may be half written."""
    told: Told | None = None
    begun: set[Point] = set()
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if "stage" in line:
            told = Told(line["stage"], line["run"], line["pid"])
        elif told is None:
            return None
        elif "saying" in line:
            begun = {(name, line["step"], value) for name, value in line["saying"].items()}
        elif "said" in line:
            told.said |= begun
            begun = set()
        else:
            told.kept.add(line["kept"])
    if told:
        told.begun = begun
    return told
