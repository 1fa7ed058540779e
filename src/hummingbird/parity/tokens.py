"""Golden token ids of CLIP's tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from hummingbird.models.clip_tokenizer import clip_tokenizer
from hummingbird.models.text import tokenize
from hummingbird.parity.golden import Case, Golden, Kind, Setup, has_keys


def _is_tokens(golden: Golden) -> bool:
    return has_keys(golden.config, "prompts", "tokens") and not golden.tensors


def _cases(golden: Golden, setup: Setup) -> Iterator[Case]:
    return token_cases(golden.config)


def token_cases(config: dict[str, Any]) -> Iterator[Case]:
    """One case for each of the ``prompts``; all its ids must be those of ``tokens``."""
    wanted = torch.tensor(config["tokens"])
    ours = tokenize(clip_tokenizer(wanted.shape[1]), config["prompts"])
    for prompt, found, ids in zip(config["prompts"], ours, wanted, strict=True):
        yield Case.compare(repr(prompt[:32]), found, ids, 0)


KINDS = [Kind("CLIP tokens", _is_tokens, _cases, has_tensors=False)]
