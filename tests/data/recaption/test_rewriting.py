from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hummingbird.data.recaption.cache import Answer, AnswerCache
from hummingbird.data.recaption.checks import Checks
from hummingbird.data.recaption.prompt import Messages
from hummingbird.data.recaption.rewriting import Rewrite, rewrite
from hummingbird.errors import UserError


def words(text: str) -> int:
    return len(text.split())


class Scripted:
    """A model that answers from a list, by caption, one answer for each time it is asked. Answers come backwards."""

    identity = "scripted"

    def __init__(self, script: dict[str, list[str | Answer]]) -> None:
        self.script = script
        self.asked: list[Messages] = []

    def answers(self, prompts: Sequence[Messages]) -> Iterator[tuple[int, Answer]]:
        for number in reversed(range(len(prompts))):
            self.asked.append(prompts[number])
            caption = prompts[number][1][1].removeprefix("<caption>").removesuffix("</caption>")
            answer = self.script[caption].pop(0)
            yield number, answer if isinstance(answer, Answer) else Answer(answer)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[AnswerCache]:
    with AnswerCache(tmp_path / "cache" / "answers.sqlite") as opened:
        yield opened


def run(captions: list[str], model: Scripted, cache: AnswerCache) -> list[Rewrite]:
    found = dict(rewrite(captions, model, Checks(words, 20, 0.75), cache))
    return [found[number] for number in range(len(captions))]


def test_what_fails_is_asked_once_more_and_told_why_then_left_alone(cache: AnswerCache) -> None:
    model = Scripted(
        {
            "red ring": ["A red ring."],
            "blue box": ["A box.", '"A blue box."'],
            "big dog": ["", "ring " * 30],
            "old cat": [Answer("An old", "cut_off"), "An old cat."],
        }
    )
    found = run(["red ring", "blue box", "big dog", "old cat"], model, cache)
    assert found == [
        Rewrite("A red ring."),
        Rewrite("A blue box."),
        Rewrite("big dog", "too_long: 30 tokens, the text encoder takes 20"),
        Rewrite("An old cat."),
    ]
    second = {prompt[1][1]: prompt[0][1] for prompt in model.asked[4:]}
    assert set(second) == {f"<caption>{caption}</caption>" for caption in ("blue box", "big dog", "old cat")}
    assert "left out subjects" in second["<caption>blue box</caption>"]
    assert "it was empty" in second["<caption>big dog</caption>"]


def test_the_same_is_asked_once_and_never_again(cache: AnswerCache) -> None:
    first = Scripted({"red ring": ["A red ring."], "big dog": ["", ""]})
    expected = [Rewrite("A red ring."), Rewrite("big dog", "empty_answer"), Rewrite("A red ring.")]
    assert run(["red ring", "big dog", "red  ring"], first, cache) == expected
    assert len(first.asked) == 3
    nobody = Scripted({})
    assert run(["red ring", "big dog", "red  ring"], nobody, cache) == expected
    assert not nobody.asked


def test_a_killed_run_keeps_every_answer_it_had(tmp_path: Path) -> None:
    class Dying(Scripted):
        def answers(self, prompts: Sequence[Messages]) -> Iterator[tuple[int, Answer]]:
            for count, answer in enumerate(super().answers(prompts)):
                if count == 2:
                    raise KeyboardInterrupt
                yield answer

    captions = ["red ring", "blue box", "old cat"]
    with AnswerCache(tmp_path / "a.sqlite") as cache, pytest.raises(KeyboardInterrupt):
        run(captions, Dying({caption: [f"A {caption}."] for caption in captions}), cache)
    model = Scripted({"red ring": ["A red ring."]})
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        assert [found.caption for found in run(captions, model, cache)] == [f"A {caption}." for caption in captions]
    assert len(model.asked) == 1


def test_another_model_is_asked_anew_and_a_passing_failure_is_not_kept(cache: AnswerCache) -> None:
    down = Scripted({"red ring": [Answer("", "http_500", final=False)]})
    assert run(["red ring"], down, cache) == [Rewrite("red ring", "http_500")]
    assert len(down.asked) == 1  # the back end has tried again by itself
    assert run(["red ring"], Scripted({"red ring": ["A red ring."]}), cache) == [Rewrite("A red ring.")]
    other = Scripted({"red ring": ["The red ring."]})
    other.identity = "other"
    assert run(["red ring"], other, cache) == [Rewrite("The red ring.")]


def test_captions_that_cannot_be_compared_stay_and_are_not_asked_about(cache: AnswerCache) -> None:
    nobody = Scripted({})
    found = run(["", "熊猫在吃竹子", "4k footage"], nobody, cache)
    assert found == [
        Rewrite("", "no_caption"),
        Rewrite("熊猫在吃竹子", "other_script"),
        Rewrite("4k footage", "no_content"),
    ]


def test_a_damaged_cache_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"rm .*a\.sqlite"):
        AnswerCache(tmp_path / "a.sqlite")
