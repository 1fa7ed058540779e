"""Runs the steps of curation one after another, each between its gates."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from filelock import FileLock, Timeout

from hummingbird.curate.display import Display
from hummingbird.curate.setting import STEPS, Setting
from hummingbird.data.sources.registry import AnySource
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, write_json
from hummingbird.layout import Layout
from hummingbird.ops.inspector import Inspector

_DVC = re.compile(r"`?dvc repro(?! foundation)( -\S+)*( \w+)?`?")  # the models are the project's own affair


@dataclass(frozen=True)
class Step:
    """A step that is done: what it measured, and how long it took."""

    name: str
    measured: dict[str, float]
    seconds: float


def run_steps(setting: Setting, source: AnySource, display: Display, gate: Inspector | None) -> list[Step]:
    """Run all steps on ``source`` in the setting's folder; ``gate`` checks what each of them wrote (none = unchecked).

    Raises:
        UserError: a step or a gate refuses. Finished work stays, and the next run goes on from there.
    """
    done = []
    for name in STEPS:
        display.step = name
        start = time.monotonic()
        with in_other_words():
            measured = _run(name, setting, source, display)
            if gate is not None:
                gate.check(name)
        step = Step(name, measured, time.monotonic() - start)
        display.metrics({**measured, "wall_s": step.seconds})
        write_json(setting.layout.metrics(name), {**measured, "wall_s": step.seconds})
        done.append(step)
    return done


def _run(name: str, setting: Setting, source: AnySource, display: Display) -> dict[str, float]:
    stage = importlib.import_module(f"hummingbird.stages.{name}")
    more = {"source": source} if name == "download" else {}
    measured: dict[str, float] = stage.run(setting.params, setting.layout, display, **more)
    return measured


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Keep a second run out of the folder; the operating system lets go when this process ends, however it ends.

    Raises:
        UserError: another run works there, or the folder cannot be written to.
    """
    path = layout.root / ".work/lock"
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"another run works in {layout.root}", "wait for its end, or name another --out") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def in_other_words(options: str = "--set NAME=VALUE") -> Iterator[None]:
    """Say the next step of an error as this command takes it: by its ``options`` where ``params.yaml`` is named, by
    itself where DVC is."""
    try:
        yield
    except UserError as error:
        step = _DVC.sub("run the same command again", error.next_step)
        if "params.yaml" in str(error):
            share = re.search(r"curation\.min_kept\.\w+", error.problem)
            step += f"\n       (here: {f'--set {share[0]}=0.05' if share else options})"
        if "no_caption" in error.problem:
            step += "\n       captions: NAME.txt or NAME.json beside each video, or a CSV (docs/curation.md)"
        raise UserError(error.problem, step) from error
