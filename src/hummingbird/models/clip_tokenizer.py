"""CLIP's tokenizer at full size. Its merges (``clip_merges.txt.gz``) are OpenAI's, MIT licence, as in OpenCLIP."""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib.resources import files

from transformers import CLIPTokenizer

from hummingbird.models.text import PADDING_ID

_START, _END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer(max_length: int = 77) -> CLIPTokenizer:
    """The tokenizer of OpenCLIP's models: 49,408 tokens, and padding by zeros as there, though token 0 is "!".

    Args:
        max_length: 77 for CLIP and VideoCrafter2, 32 for ViCLIP.
    """
    vocabulary, merges = _vocabulary()
    return CLIPTokenizer(
        vocab=dict(vocabulary), merges=list(merges), model_max_length=max_length, unk_token=_END, **{PADDING_ID: 0}
    )


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token -> id: the bytes, the bytes that end a word, one token for each merge, start and end of text."""
    lines = gzip.decompress(files(__package__).joinpath("clip_merges.txt.gz").read_bytes()).decode().splitlines()
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), _START, _END]
    return {token: index for index, token in enumerate(tokens)}, merges


def _byte_letters() -> list[str]:
    """A printable letter for each of the 256 bytes, in the vocabulary's order: the printable ones stand for themselves,
    the others for 256, 257, ..."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + others))]
