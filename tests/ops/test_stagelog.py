"""What a person sees of a stage that runs without a terminal."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from hummingbird.ops import stagelog
from hummingbird.ops.stagelog import StageLog
from hummingbird.runlog import Verdicts


def test_verdicts_say_what_was_kept_and_then_the_reasons() -> None:
    verdicts = Verdicts()
    for reason in ("", "http_404: gone", "too_short", "http_404", ""):
        verdicts.add(reason)
    verdicts.add("", 1000)
    assert str(verdicts) == "1,002 kept, 2 http_404, 1 too_short"


def test_each_progress_counts_from_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stagelog, "LINE_EVERY", 0.0)
    log = StageLog(Mock())
    for description in ("first", "second"):
        for number in log.progress([0, 1], description):
            log.verdict("empty" if number else "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("second: 2/2 (100%)")
    assert lines[-1].endswith("; 1 kept, 1 empty")
    assert lines[-3].endswith("; 1 kept")
