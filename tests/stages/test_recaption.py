from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hummingbird.data.clips import SCHEMA, clip_table, read_table, write_table
from hummingbird.data.recaption.cache import Answer, AnswerCache
from hummingbird.data.recaption.prompt import Messages
from hummingbird.data.recaption.rewriting import Rewrite
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.miniature.recaptioner import build_model, build_tokenizer
from hummingbird.models.text import build_world_tokenizer
from hummingbird.params import Params, Recaption
from hummingbird.runlog import SilentLog
from hummingbird.stages import recaption

CAPTIONS = ("CRIMSON BALL drifting left, ocean, 4k", "dropped before", "a red ring", "something else")


def rows() -> list[dict[str, object]]:
    empty = dict.fromkeys(SCHEMA)
    return [
        empty | {"clip_id": f"c{n}", "shard": "0.tar", "key": str(n), "caption": caption, "kept": n != 1,
                 "reason": "blur" if n == 1 else ""}
        for n, caption in enumerate(CAPTIONS)
    ]  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A project with an untrained language model."""
    layout = Layout(tmp_path)
    write_table(clip_table(rows()), layout.clip_table("motion_filter"))
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    build_model(tokenizer).save_pretrained(layout.foundation / "recaptioner")
    tokenizer.save_pretrained(layout.foundation / "recaptioner")
    build_world_tokenizer().save_pretrained(layout.foundation / "tokenizer")
    return layout


def test_new_captions_stand_beside_the_raw_ones() -> None:
    new = [Rewrite("a red circle moves left on sea"), Rewrite("a red ring"), Rewrite("something else", "empty_answer")]
    table = recaption.recaptioned(clip_table(rows()), new)
    assert table["clip_id"].to_list() == ["c0", "c1", "c2", "c3"]
    assert table["raw_caption"].to_list() == list(CAPTIONS)
    assert table["caption"].to_list() == [
        "a red circle moves left on sea",
        "dropped before",
        "a red ring",
        "something else",
    ]
    assert table["recaption_reason"].to_list() == ["", None, "", "empty_answer"]


def test_captions_come_back_in_their_order(tmp_path: Path) -> None:
    class Loud:
        identity = "loud"

        def answers(self, prompts: Sequence[Messages]) -> Iterator[tuple[int, Answer]]:
            for number in reversed(range(len(prompts))):
                yield number, Answer(prompts[number][1][1].upper()[9:-10])

    captions = ["ring cross", "ring", "box ring cross", "red box", "box"]
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        found = recaption.rewrite_captions(Loud(), build_world_tokenizer(), captions, Recaption(), cache, SilentLog())
    assert [rewrite.caption for rewrite in found] == [caption.upper() for caption in captions]


def test_an_untrained_model_cannot_harm_the_captions(layout: Layout) -> None:
    figures = recaption.run(Params(), layout, SilentLog())
    table = read_table(layout.clip_table("recaption"))
    assert figures["clips"] == sum(count for name, count in figures.items() if name.startswith("failed_")) - 1.0
    assert (figures["changed_share"], figures["failed_share"]) == (0.0, 1.0)
    assert table["caption"].to_list() == list(CAPTIONS)
    assert all(reason for reason in table.filter(table["kept"])["recaption_reason"])


def test_each_caption_is_counted_while_the_bar_grows(tmp_path: Path, told: Any) -> None:
    class Mixed:
        identity = "mixed"

        def answers(self, prompts: Sequence[Messages]) -> Iterator[tuple[int, Answer]]:
            for number, prompt in enumerate(prompts):
                yield number, Answer("" if "cross" in prompt[1][1] else prompt[1][1][9:-10])

    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        captions = ["ring cross", "ring", "", "box"]
        recaption.rewrite_captions(Mixed(), build_world_tokenizer(), captions, Recaption(), cache, told)
    assert told.bars == [("captions", 4, 4)]
    assert told.verdicts == [{"kept": 2, "no_caption": 1, "empty_answer": 1}]


def test_missing_models_are_explained(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no language model in .*nowhere"):
        recaption.run(Params(recaption=Recaption(model=str(tmp_path / "nowhere"))), layout, SilentLog())
    (layout.foundation / "tokenizer").rename(layout.foundation / "gone")
    with pytest.raises(UserError, match="dvc repro foundation"):
        recaption.run(Params(), layout, SilentLog())


def test_an_endpoint_needs_an_address_and_a_model(layout: Layout) -> None:
    with pytest.raises(UserError, match=r"needs recaption.endpoint and recaption.model"):
        recaption.run(Params(recaption=Recaption(backend="openai", model="llama")), layout, SilentLog())
