"""Whether an answer can serve as a caption. Reasons are ``code`` or ``code: detail``; docs/curation.md lists them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from hummingbird.data.recaption.words import Synonyms, content_words, is_latin, new_counts, new_names, stems

#: What the model is told when its answer is refused, by code. Nothing here comes from the caption.
HINTS = {
    "empty_answer": "it was empty",
    "cut_off": "it was too long; be brief",
    "several_lines": "it had more than one line",
    "link_or_markup": "it held a link, markup or a control token",
    "chatter": "it talked about the caption in place of giving it",
    "first_person": "it spoke in the first person",
    "instruction": "it held an instruction or spoke of instructions",
    "too_long": "it was too long; be brief",
    "loses": "it left out subjects, objects or the place that the caption names; keep its words",
    "adds_name": "it named somebody or something that the caption does not name",
    "adds_count": "it stated a number that the caption does not state",
}
_MARKUP = re.compile(
    r"https?:|www\.|\b[\w-]+\.(?:com|net|org|io|ru|cn|info)\b|</?[a-z|!][^>]*>|\[/?[A-Z_]{2,}\]|```|[\w.]+@[\w-]+\.\w",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"\b(?:I|I'm|me|my|we|our)\b")
_CHATTER = re.compile(
    r"(?:sure|certainly|okay|here(?:\s+is|'s)|sorry|as an? (?:ai|assistant)|note\s*:|answer\s*:"
    r"|(?:the\s+|a\s+)?(?:new|rewritten|revised)?\s*caption\b)",
    re.IGNORECASE,
)
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instructions?|rules?|prompts?|above|previous)\b"
    r"|\b(?:system prompt|you (?:are now|must|should)|do not answer|respond with|language model|rewrite the)\b",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
_LONGEST = 2000  # characters of an answer: no 77 tokens are that long
_MOST_WORDS = 16  # of a long caption are asked for: more does not fit into one sentence


def tidy(answer: str) -> str:
    """An answer without surrounding white space and quotation marks."""
    text = answer.strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def hint_for(reason: str) -> str:
    """What the model is told about ``reason``; empty where asking again is of no use."""
    return HINTS.get(reason.split(":")[0], "")


@dataclass(frozen=True, slots=True)
class Checks:
    """The bar for answers.

    Attributes:
        count_tokens: number of tokens of a text for the text encoder that will read it.
        token_limit: the most it takes (77 for CLIP).
        min_kept_words: least share of the original's content words that an answer must hold; 0 = do not compare.
        synonyms: words that count as one when they are compared.
    """

    count_tokens: Callable[[str], int]
    token_limit: int
    min_kept_words: float
    synonyms: Synonyms = field(default_factory=lambda: Synonyms({}))

    def refusal(self, original: str) -> str:
        """Why a caption (cleaned) is not worth asking about; empty if it is."""
        if not original:
            return "no_caption"
        if self.min_kept_words and not is_latin(original):
            return "other_script"  # an answer in English could be compared with nothing
        if self.min_kept_words and not content_words(self.synonyms.fold(original)):
            return "no_content"
        return ""

    def problem(self, original: str, answer: str) -> str:
        """Why ``answer`` cannot stand for ``original`` (both cleaned); empty if it can."""
        return self._form(answer) or self._meaning(original, answer)

    def _form(self, answer: str) -> str:
        if not answer:
            return "empty_answer"
        if len(answer) > _LONGEST:  # first: the patterns below take their time with what has no end
            return f"too_long: {len(answer)} characters"
        if "\n" in answer or "\r" in answer:
            return "several_lines"
        if _MARKUP.search(answer) or not answer.isprintable():
            return "link_or_markup"
        if _CHATTER.match(answer):
            return "chatter"
        if _FIRST_PERSON.search(answer):
            return "first_person"
        if _INSTRUCTION.search(answer):
            return "instruction"
        if (count := self.count_tokens(answer)) > self.token_limit:
            return f"too_long: {count} tokens, the text encoder takes {self.token_limit}"
        return ""

    def _meaning(self, original: str, answer: str) -> str:
        if not self.min_kept_words:
            return ""
        if lost := self._lost(original, answer):
            return f"loses: {', '.join(lost[:5])}"
        if names := new_names(original, answer):
            return f"adds_name: {', '.join(names[:5])}"
        if counts := new_counts(original, answer):
            return f"adds_count: {', '.join(counts[:5])}"
        return ""

    def _lost(self, original: str, answer: str) -> list[str]:
        """The content words that ``answer`` lacks, where they are too many."""
        wanted = content_words(self.synonyms.fold(original))
        there = stems(self.synonyms.fold(answer))
        lost = [word for word in wanted if not stems(word) & there]
        needed = math.ceil(self.min_kept_words * min(len(wanted), _MOST_WORDS) - 1e-9)
        return lost if len(wanted) - len(lost) < needed else []
