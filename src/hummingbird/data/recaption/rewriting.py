"""Captions rewritten by a language model, each answer checked; what fails is asked once more, then left as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hummingbird.data.recaption.cache import AnswerCache, Backend, ask
from hummingbird.data.recaption.checks import Checks, hint_for, tidy
from hummingbird.data.recaption.prompt import clean, conversation

_PART = 8192  # captions at once: batches of like length come from among them, and no more lie in memory as prompts
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A caption after rewriting. ``reason`` is empty, or says why the original was kept."""

    caption: str
    reason: str = ""


def rewrite(
    captions: Sequence[str], backend: Backend, checks: Checks, cache: AnswerCache
) -> Iterator[tuple[int, Rewrite]]:
    """Every caption's number and rewrite, as they come.

    Raises:
        UserError: the language model cannot be used at all, or the disk cannot be written to.
    """
    for start in range(0, len(captions), _PART):
        for number, result in _rewrite_part(captions[start : start + _PART], backend, checks, cache):
            yield start + number, result


def _rewrite_part(
    captions: Sequence[str], backend: Backend, checks: Checks, cache: AnswerCache
) -> Iterator[tuple[int, Rewrite]]:
    data = [clean(caption) for caption in captions]
    waiting: dict[int, str] = {}  # number -> what the model is told besides
    for number, text in enumerate(data):
        if reason := checks.refusal(text):
            yield number, Rewrite(captions[number], reason)
        else:
            waiting[number] = ""
    for attempt in range(_ATTEMPTS):
        numbers, again = list(waiting), {}
        prompts = [conversation(data[number], waiting[number]) for number in numbers]
        for place, answer in ask(backend, prompts, cache):
            number, text = numbers[place], tidy(answer.text)
            reason = answer.problem or checks.problem(data[number], text)
            if not reason:
                yield number, Rewrite(text)
            elif attempt + 1 < _ATTEMPTS and (hint := hint_for(reason)):
                again[number] = hint
            else:
                yield number, Rewrite(captions[number], reason)
        waiting = again
