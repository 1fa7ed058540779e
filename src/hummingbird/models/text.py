"""Text conditioning: a CLIP tokenizer and a CLIP text tower, at the paper's size or the miniature's."""

from __future__ import annotations

import html

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from hummingbird.data import world
from hummingbird.errors import UserError

#: Words besides the captions' own that the miniature tokenizer knows whole: quality tags, as on the web.
QUALITY_WORDS = (
    *("blurry", "noisy", "pixelated", "compressed", "dark", "underexposed", "washed", "faded", "frozen", "static"),
    *(
        "shaky",
        "distorted",
        "sharp",
        "clear",
        "bright",
        "detailed",
        "clip",
        "video",
        "footage",
        "quality",
        "low",
        "high",
    ),
)
_GRAMMAR = (
    *("a", "moves", "stays", "still", "on", "while", "the", "camera", "zooms", "pans"),
    *("in", "out", "left", "right", "up", "down", "of", "above", "below"),
)
MAX_LENGTH = 24

#: Option of a tokenizer that pads with the id of an ordinary token. (A special token would be cut out of the text.)
PADDING_ID = "padding_id"


def world_vocabulary() -> list[str]:
    """Every word of the miniature world's captions and of its quality tags, sorted."""
    facts = [*world.COLORS, *world.SHAPES, *world.TEXTURES, *world.SIZES, *world.BACKGROUNDS, *world.SPEEDS]
    return sorted({*facts, *_GRAMMAR, *QUALITY_WORDS})


def build_world_tokenizer(max_length: int = MAX_LENGTH) -> CLIPTokenizer:
    """A CLIP tokenizer (byte-level BPE, ``</w>`` suffix) in which each world word is one token.

    A word it does not know still falls apart into letters, as in the full-size vocabulary.
    """
    alphabet = [chr(code) for code in range(33, 127)]
    units = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    merges: dict[tuple[str, str], None] = {}  # ordered set
    for word in world_vocabulary():
        # Merge from the end, so that two words share their merges only where their endings agree.
        piece = word[-1] + "</w>"
        for letter in reversed(word[:-1]):
            merges.setdefault((letter, piece))
            piece = letter + piece
    units.extend(left + right for left, right in merges)
    tokens = [*dict.fromkeys(units), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=max_length)


def miniature_text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """Two layers of width 96 over the world's vocabulary."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Token ids [B, L], padded and cut to the tokenizer's length.

    As in OpenCLIP, HTML entities are resolved first, also those that were escaped twice. (OpenCLIP also repairs text
    that was decoded with the wrong character set; that is left to the captions' source here.)
    """
    plain = [html.unescape(html.unescape(prompt)) for prompt in prompts]
    length = tokenizer.model_max_length
    ids = torch.full((len(prompts), length), tokenizer.init_kwargs.get(PADDING_ID, tokenizer.pad_token_id))
    for row, found in zip(ids, tokenizer(plain, truncation=True, max_length=length).input_ids, strict=True):
        row[: len(found)] = torch.tensor(found)
    return ids


def encode_prompts(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Text embeddings [B, L, D]: the tower's last hidden state after its final norm. Padding is not masked, as in
    VideoCrafter2."""
    ids = tokenize(tokenizer, prompts).to(text_encoder.device)
    return text_encoder(input_ids=ids).last_hidden_state


def check_prompt(tokenizer: CLIPTokenizer, prompt: str) -> None:
    """Refuse a prompt from which nothing can be made.

    Raises:
        UserError: the prompt is empty, or none of its words is a word of the vocabulary.
    """
    words = prompt.split()
    if not words:
        raise UserError(
            "the prompt is empty", 'say what to show, e.g. "a large plain red circle moves slowly left on sea"'
        )
    if not any(len(tokenizer.tokenize(word)) == 1 for word in words):
        raise UserError(
            f"the text encoder knows none of the words of {prompt!r}",
            f"use words of its vocabulary; the miniature knows: {', '.join(world_vocabulary())}",
        )
