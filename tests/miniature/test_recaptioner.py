from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hummingbird.data.captions import CaptionError, Facts, ObjectFacts, parse
from hummingbird.data.recaption.transformers_backend import Recaptioner
from hummingbird.miniature import recaptioner
from hummingbird.runlog import SilentLog


def test_the_tokenizer_knows_every_word_of_the_pairs_but_strange_ones() -> None:
    tokenizer = recaptioner.build_tokenizer()
    rng = np.random.default_rng(0)
    for _ in range(500):
        text, answer = recaptioner.make_pair(rng)
        unknown = tokenizer.unk_token_id in tokenizer(text + " " + answer).input_ids
        assert unknown == ("zzz" in text)
        assert tokenizer.decode(tokenizer(answer).input_ids) == answer


def test_wanted_answers_are_canonical_captions_or_nothing() -> None:
    rng = np.random.default_rng(1)
    pairs = [recaptioner.make_pair(rng) for _ in range(500)]
    for _, answer in pairs:
        if answer:
            parse(answer)
    assert 0.03 < np.mean([not answer for _, answer in pairs]) < 0.15
    assert 0.1 < np.mean([text == answer for text, answer in pairs]) < 0.3


def test_only_the_answer_is_learnt() -> None:
    tokenizer = recaptioner.build_tokenizer()
    batch = recaptioner.collate([("x", "a red ring"), ("y", "")], ["<s>big ball<answer>", "<s>ball<answer>"], tokenizer)
    learnt = [[int(i) for i in row if i >= 0] for row in batch["labels"]]
    assert [tokenizer.decode(ids) for ids in learnt] == ["a red ring </s>", "</s>"]
    assert batch["attention_mask"].sum(1).tolist() == [8, 4]
    assert (batch["input_ids"][batch["labels"] >= 0] == batch["labels"][batch["labels"] >= 0]).all()


@pytest.mark.parametrize(
    ("answer", "invents"),
    [("a red ring", False), ("a ring", False), ("a red ring on sea", True), ("a blue ring", True), ("nonsense", True)],
)
def test_invention_is_recognised(answer: str, invents: bool) -> None:
    assert recaptioner._invents(answer, Facts((ObjectFacts("ring", "red"),))) == invents
    if answer == "nonsense":
        with pytest.raises(CaptionError):
            parse(answer)


def test_training_lowers_the_loss_and_leaves_a_model_that_loads(tmp_path: Path) -> None:
    class Losses(SilentLog):
        seen: list[float] = []  # noqa: RUF012

        def metrics(self, values: object, step: int | None = None) -> None:
            self.seen.append(values["loss"])  # type: ignore[index]

    log = Losses()
    figures = recaptioner.train(tmp_path / "recaptioner", seed=1, budget=0.02, work=tmp_path / "work", log=log)
    assert log.seen[-1] < 0.8 * log.seen[0]
    assert figures["steps"] == 20
    loaded = Recaptioner.from_pretrained(tmp_path / "recaptioner")
    assert len(loaded.answer(["crimson ball"], 4)) == 1
    size = sum(file.stat().st_size for file in (tmp_path / "recaptioner").iterdir())
    assert size < 1_500_000
