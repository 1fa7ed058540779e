"""The summary of a run, from what its steps measured."""

from __future__ import annotations

import io

from rich.console import Console

from hummingbird.curate.report import duration, print_summary
from hummingbird.curate.setting import Setting
from hummingbird.curate.steps import Step
from hummingbird.layout import Layout
from hummingbird.params import Params

STEPS = [
    Step("download", {"clips": 30, "kept": 26, "kept_seconds": 9.0, "dropped_corrupt": 1, "dropped_too_short": 3}, 10),
    Step("measure", {"clips": 26, "unreadable": 2, "spared": 1}, 13),
    Step("vqa_filter", {"clips": 26, "kept": 25, "dropped_black": 1, "dropped_frozen": 0}, 1),
    Step("recaption", {"clips": 25, "changed_share": 0.8, "failed_share": 0.2, "failed_loses": 5}, 1),
    Step("encode", {"clips": 25, "frames": 250, "bytes": 1e6}, 5),
]


def test_the_summary_says_what_went_where_and_why() -> None:
    screen = io.StringIO()
    print_summary(Console(file=screen, width=160), Setting(Params(), Layout()), STEPS)
    rows = {row[0]: row[1:4] for row in (line.split("\u2502")[1:-1] for line in screen.getvalue().splitlines()) if row}
    found = {name.strip(): [cell.strip() for cell in cells] for name, cells in rows.items()}
    assert found == {
        "download": ["30", "26", "3 too_short, 1 corrupt"],
        "measure": ["26", "26", "2 unreadable"],
        "vqa_filter": ["26", "25", "1 black"],
        "recaption": ["25", "25", "5 captions stay as they were: 5 loses"],
        "encode": ["25", "25", ""],
    }
    assert "25 clips, 250 frames, 1.0 MB" in screen.getvalue()


def test_times_are_said_in_their_own_units() -> None:
    assert [duration(seconds) for seconds in (3.21, 125, 3720)] == ["3.2 s", "2 min 05 s", "1 h 02 min"]
