"""What ViCLIP's text tower is given, against the original tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

from hummingbird.models.clip_tokenizer import clip_tokenizer
from hummingbird.models.rewards.preprocess import token_ids

GOLDEN = Path(__file__).parents[2] / "parity/golden/viclip_small.json"


def test_tokens_equal_the_original_up_to_the_end_of_text() -> None:
    golden = json.loads(GOLDEN.read_text())["tokenizer"]
    length = golden["context_length"]
    assert max(map(len, golden["tokens"])) == length == 32
    for prompt, row in zip(golden["prompts"], golden["tokens"], strict=True):
        [ours] = token_ids(clip_tokenizer(), [prompt], length).tolist()
        end = ours.index(49407) + 1
        # The tower is causal and looks at the end of text, so what follows it does not matter.
        assert ours[:end] == row[:end] and not any(row[end:])
