"""What becomes of a fetched file that no clips can be made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird.data import intake
from hummingbird.data.fetching import Fetched
from hummingbird.data.sources import Item
from hummingbird.errors import UserError
from hummingbird.params import Preparation

FETCHED = Fetched(Item("odd", "odd.mp4", "a caption", "test"), Path("odd.mp4"), "0" * 64)


def failing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(video: object, settings: object) -> None:
        raise error

    monkeypatch.setattr(intake, "prepare", fails)


def test_whatever_goes_wrong_in_one_video_is_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(ZeroDivisionError("Fraction(1, 0)\n"), monkeypatch)
    [clip] = intake.clips_of(FETCHED, Preparation())
    assert (clip.clip_id, clip.problem) == ("odd", "corrupt: ZeroDivisionError: Fraction(1, 0)")


@pytest.mark.parametrize("error", [UserError("no room", "make some"), MemoryError()])
def test_what_is_wrong_with_the_machine_ends_the_run(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(error, monkeypatch)
    with pytest.raises(type(error)):
        intake.clips_of(FETCHED, Preparation())
