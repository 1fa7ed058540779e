"""The live lines of a run, drawn into memory."""

from __future__ import annotations

import io

from rich.console import Console

from hummingbird.curate.display import Display
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


def test_a_terminal_shows_what_was_kept_and_dropped() -> None:
    screen = io.StringIO()
    with Display(Kept(), Console(file=screen, force_terminal=True, width=140)) as display:
        display.step = "download"
        for number in display.progress(range(30), "downloading", total=30):
            display.verdict("http_404: gone" if number % 3 == 0 else "")
    last = screen.getvalue().rsplit("download", 1)[1]
    assert "30/30" in last
    assert "20 kept, 10 http_404" in last


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
