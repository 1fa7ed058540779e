"""A causal language model from a local folder: Llama-3-8B-Instruct, Qwen2.5-Instruct, or the miniature.

All are driven through their tokenizer's chat template, in left-padded batches, by greedy decoding.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from hummingbird.data.recaption.cache import Answer
from hummingbird.data.recaption.prompt import Messages, clean, conversation
from hummingbird.errors import UserError
from hummingbird.models.checkpoints import sha256


class Recaptioner:
    """A causal language model and its tokenizer, ready to answer in batches by greedy decoding."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            raise UserError(
                "the recaptioner's tokenizer has no chat template: it is no instruction-following model",
                "set recaption.model to an instruct model, e.g. Llama-3-8B-Instruct",
            )
        self.model, self.tokenizer = model.eval(), tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:  # Llama 3 has none
            tokenizer.pad_token = tokenizer.eos_token
        control = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
        self._control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))))

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Load from a local folder; nothing is fetched and no code from it is run.

        Raises:
            UserError: the folder is missing or holds no causal language model.
        """
        if not (folder / "config.json").is_file():
            raise UserError(f"no language model in {folder}", "run `dvc repro foundation`, or mend recaption.model")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            dtype = "auto" if device == "cuda" else torch.float32  # half precision is slow on CPUs
            model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=dtype)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{folder} does not hold a causal language model: {error}", "give a folder saved by transformers"
            ) from error
        return cls(model.to(device), tokenizer)

    def prompt(self, caption: str) -> str:
        """The whole prompt for one caption, as text."""
        return self.render(conversation(clean(caption)))

    def render(self, messages: Messages) -> str:
        """A conversation in the form of the model's chat template, without any of its control tokens in the data."""
        turns = [
            {"role": role, "content": content if role == "system" else self._without_control(content)}
            for role, content in messages
        ]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def _without_control(self, content: str) -> str:
        data = content.removeprefix("<caption>").removesuffix("</caption>")
        return f"<caption>{self._control.sub(' ', data)}</caption>"

    def answer(self, captions: list[str], max_new_tokens: int) -> list[str]:
        """The model's answers to a batch of captions, untouched but for surrounding white space."""
        return [text for text, _ in self.generate([self.prompt(caption) for caption in captions], max_new_tokens)]

    @torch.inference_mode()
    def generate(self, prompts: list[str], max_new_tokens: int) -> list[tuple[str, bool]]:
        """The answers to a batch of whole prompts, and whether each came to its end."""
        batch = self.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        batch = {name: batch[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        output = self.model.generate(
            **batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=self.tokenizer.pad_token_id
        )
        ends = {self.tokenizer.eos_token_id, self.tokenizer.pad_token_id, *self._stops()}
        answers = []
        for ids in output[:, batch["input_ids"].shape[1] :].tolist():
            length = next((n for n, token in enumerate(ids) if token in ends), None)
            answers.append((str(self.tokenizer.decode(ids[:length])).strip(), length is not None))
        return answers

    def _stops(self) -> list[int]:
        """Further end tokens of the model: an instruct model ends its turn with another token than its text."""
        stops = self.model.generation_config.eos_token_id
        return stops if isinstance(stops, list) else [] if stops is None else [stops]


class TransformersBackend:
    """A :class:`Recaptioner` from a folder, asked in batches of prompts of like length."""

    def __init__(self, folder: Path, *, batch_size: int, max_new_tokens: int) -> None:
        self._model = Recaptioner.from_pretrained(folder)
        self._batch_size, self._max_new_tokens = batch_size, max_new_tokens
        files = sorted(path for path in folder.iterdir() if path.is_file())
        content = hashlib.sha256("".join(path.name + sha256(path) for path in files).encode()).hexdigest()
        self.identity = f"transformers {content} greedy {max_new_tokens}"

    def answers(self, prompts: Sequence[Messages]) -> Iterator[tuple[int, Answer]]:
        texts = [self._model.render(messages) for messages in prompts]
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            found = self._model.generate([texts[number] for number in batch], self._max_new_tokens)
            for number, (text, ended) in zip(batch, found, strict=True):
                yield number, Answer(text, "" if ended else "cut_off")
