"""Golden token ids of CLIP's tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hummingbird.models.clip_tokenizer import clip_tokenizer
from hummingbird.models.text import tokenize
from hummingbird.parity.golden import Case, Golden, Kind, Setup, has_keys


def _is_tokens(golden: Golden) -> bool:
    return has_keys(golden.config, "prompts", "tokens") and not golden.tensors


def _cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    """One case a prompt; every id must be the same."""
    wanted = torch.tensor(golden.config["tokens"])
    ours = tokenize(clip_tokenizer(wanted.shape[1]), golden.config["prompts"])
    for prompt, found, ids in zip(golden.config["prompts"], ours, wanted, strict=True):
        yield Case.compare(repr(prompt[:32]), found, ids, 0)


KINDS = [Kind("CLIP tokens", _is_tokens, _cases)]
