"""What a person sees of a run, and what MLflow keeps of it: one log for all steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from hummingbird.runlog import RunLog, Verdicts

T = TypeVar("T")


def speed(task: Task) -> float:
    """Items per second. They come in batches, and those of an earlier run all at once, so that neither the last moments
    nor the whole time alone tell it: the lower one does."""
    elapsed = task.finished_time or task.elapsed or 0.0
    overall = task.completed / elapsed if elapsed else 0.0
    return min(overall, task.speed) if task.speed else overall


class Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{speed(task):.1f}/s" if speed(task) else "", style="progress.data.speed", justify="right")


class Left(ProgressColumn):
    """Time left; of a step that has ended, the time that it took."""

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"took {_clock(task.finished_time or 0.0)}", style="progress.elapsed")
        if not task.total or not speed(task):
            return Text("")
        return Text(f"{_clock((task.total - task.completed) / speed(task))} left", style="progress.remaining")


def _column(width: int | None = None, ratio: int | None = None) -> Column:
    """Of one line, whatever the window's width: only what has a ``ratio`` gives way."""
    return Column(no_wrap=True, overflow="ellipsis", min_width=width, ratio=ratio)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class Display:
    """The :class:`~hummingbird.runlog.RunLog` of a run of several steps: a live line for each where there is a
    terminal, else the lines of ``record``. Metrics go to ``record`` under the step's name, pictures under their own."""

    def __init__(self, record: RunLog, console: Console) -> None:
        self.record, self.console = record, console
        self.step = ""
        self._verdicts = Verdicts()
        self._progress = Progress(
            TextColumn("{task.description}", table_column=_column(width=13)),
            BarColumn(bar_width=24 if console.width >= 110 else 10),
            MofNCompleteColumn(table_column=_column()),
            Rate(table_column=_column(width=9)),
            Left(table_column=_column(width=13)),
            TextColumn("{task.fields[verdicts]}", style="dim", table_column=_column(ratio=1)),
            console=console,
            refresh_per_second=8,
            expand=True,
        )

    def __enter__(self) -> Self:
        from transformers.utils import logging

        logging.disable_progress_bar()  # its bars for loading weights would break these lines
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._progress.stop()

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.record.metrics({f"{self.step}.{name}": value for name, value in values.items()}, step)

    def image(self, key: str, image: Any, step: int | None = None) -> None:
        self.record.image(key, image, step)

    def video(self, name: str, frames: Any, fps: float) -> None:
        self.record.video(name, frames, fps)

    def artifact(self, path: Path) -> None:
        self.record.artifact(path)

    def progress(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        self._verdicts = Verdicts()
        if not self.console.is_terminal:
            yield from self.record.progress(items, f"{self.step}: {description}", total)
            return
        task = self._progress.add_task(self.step, total=total, verdicts="")
        for item in items:
            yield item
            self._progress.update(task, advance=1, verdicts=str(self._verdicts))
        self._progress.update(task, total=self._progress.tasks[task].completed, verdicts=str(self._verdicts))

    def verdict(self, reason: str, clips: int = 1) -> None:
        self._verdicts.add(reason, clips)
        if not self.console.is_terminal:
            self.record.verdict(reason, clips)
