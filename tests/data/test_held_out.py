"""Which captions and clips are held out of training."""

from __future__ import annotations

import polars as pl
import pytest

from hummingbird.data.held_out import hold_out
from hummingbird.errors import UserError


def index(captions: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"clip_id": [f"clip-{n}" for n in range(len(captions))], "caption": captions})


def test_the_choice_follows_from_the_ids_alone_and_takes_every_clip_of_a_caption() -> None:
    table = index([f"caption {n // 2}" for n in range(40)])
    prompts, clips = hold_out(table, 5, "a.b")
    assert len(set(prompts)) == 5
    assert sorted(clips) == sorted(table.filter(pl.col("caption").is_in(prompts))["clip_id"].to_list())
    assert len(clips) == 10
    assert hold_out(table.reverse(), 5, "a.b") == (prompts, clips)
    more, _ = hold_out(table, 8, "a.b")
    assert more[:5] == prompts
    assert hold_out(table, 0, "a.b") == ([], frozenset())


@pytest.mark.parametrize("count", [2, 9])
def test_somebody_must_be_left_to_train_on(count: int) -> None:
    with pytest.raises(UserError, match=rf"{count} captions are to be held out.*only 2") as error:
        hold_out(index(["a", "b", "a"]), count, "a.b")
    assert "lower a.b in params.yaml" in error.value.next_step
