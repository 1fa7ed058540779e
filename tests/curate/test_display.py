"""The live lines of a run, drawn into memory."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from hummingbird.curate.display import Display, speed
from hummingbird.runlog import SilentLog


class Kept(SilentLog):
    """A record that keeps what it is told."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.described: list[str] = []

    def metrics(self, values, step=None):  # type: ignore[no-untyped-def]
        self.values |= values

    def progress(self, items, description, total=None):  # type: ignore[no-untyped-def]
        self.described.append(description)
        yield from items


@pytest.mark.parametrize(("width", "verdicts"), [(140, "20 kept, 10 http_404"), (80, "20 kept")])
def test_a_terminal_shows_what_was_kept_and_dropped(width: int, verdicts: str) -> None:
    screen = io.StringIO()
    with Display(Kept(), Console(file=screen, force_terminal=True, width=width)) as display:
        display.step = "download"
        for number in display.progress(range(30), "downloading", total=30):
            display.verdict("http_404: gone" if number % 3 == 0 else "")
            display.verdict("", 0)
    last = screen.getvalue().rsplit("download", 1)[1]
    assert "30/30" in last and "/s" in last and "took 0:00:0" in last
    assert verdicts in last


def test_a_batch_is_no_speed() -> None:
    now = 0.0
    progress = Progress(get_time=lambda: now)
    progress.add_task("measure", total=100)
    (task,) = progress.tasks
    now = 10.0
    for _ in range(50):
        now += 1e-6
        progress.update(task.id, advance=1)
    assert speed(task) == pytest.approx(5.0, rel=1e-3)


def test_without_a_terminal_the_record_draws() -> None:
    record, screen = Kept(), io.StringIO()
    with Display(record, Console(file=screen)) as display:
        display.step = "measure"
        assert list(display.progress([1, 2], "measuring")) == [1, 2]
    assert record.described == ["measure: measuring"]
    assert screen.getvalue() == ""


def test_figures_are_recorded_by_step() -> None:
    record = Kept()
    display = Display(record, Console(file=io.StringIO()))
    display.step = "encode"
    display.metrics({"clips": 3.0})
    assert record.values == {"encode.clips": 3.0}
