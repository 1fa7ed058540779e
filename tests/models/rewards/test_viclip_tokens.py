"""ViCLIP's 32 tokens against the original tokenizer, as far as it goes without the vocabulary of CLIP.

Its vocabulary has 49408 entries and is not shipped. The one made here has the original's bytes, special tokens and,
for the prompts whose words are one token each, those words, each with the number that the golden data give it. So what
is tested is the reading of entities, case, the splitting into words, the cut and the end of text, but not the merges.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from hummingbird.models.rewards.preprocess import token_ids

COPY = Path(__file__).parents[2] / "parity/golden/viclip_small.json"
#: the prompts of the golden data that can be tested, and the words that their tokens must be
WORDS = {
    0: ["a", "cute", "happy", "corgi", "playing", "in", "park", ",", "sunset", ",", "animated", "style", "."],
    1: [],
    3: ["hello", "world", "new", "line", "&", "<", "tag", ">"],
    4: ["word"] * 30,
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    folder = os.environ.get("HUMMINGBIRD_PARITY")
    path = Path(folder) / "viclip_small.json" if folder else COPY
    return dict(json.loads(path.read_text())["tokenizer"])


def _tokenizer(ids: dict[str, int]) -> CLIPTokenizer:
    """One token for each of these words, and one for each letter."""
    letters = sorted({letter for word in ids for letter in word})
    units = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: dict[tuple[str, str], None] = {}
    for word in ids:
        piece = f"{word[-1]}</w>"
        for letter in reversed(word[:-1]):
            merges.setdefault((letter, piece))
            piece = letter + piece
    units += ["".join(pair) for pair in merges]
    vocabulary = {unit: index for index, unit in enumerate(dict.fromkeys(units))}
    vocabulary |= {f"{word}</w>": index for word, index in ids.items()}
    vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=77)


def test_tokens_equal_the_original(golden: dict[str, Any]) -> None:
    ids: dict[str, int] = {}
    for index, words in WORDS.items():
        row = golden["tokens"][index]
        ids |= dict(zip(words, row[1 : 1 + len(words)], strict=True))
    tokenizer = _tokenizer(ids)
    length = golden["context_length"]
    for index in WORDS:
        [ours] = token_ids(tokenizer, [golden["prompts"][index]], length).tolist()
        end = ours.index(49407) + 1
        row = golden["tokens"][index]
        # Ours is padded to the longest prompt of a batch; the original to 32, with zeros. The tower is causal and looks
        # at the end of text, so what follows it does not matter.
        assert ours[:end] == row[:end] and not any(row[end:]) and set(ours[end:]) <= {49407}
    assert len(token_ids(tokenizer, [golden["prompts"][4]], length)[0]) == length
