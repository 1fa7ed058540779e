"""Words, names and counts of captions, for comparing an answer with its original.

There is no tagger here, so what nouns a caption has is not known. In their place stand its *content words*: words that
are neither function words nor numbers nor words of a stock catalogue, without those that look like adverbs or forms of
verbs (six letters or more with -ly, -ing or -ed), compared by their stems (Snowball's English stemmer). Nouns are among
them, and so are adjectives and some verbs; a noun such as "building" is passed over.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import snowballstemmer

from hummingbird.data import sloppy
from hummingbird.errors import UserError

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_FUNCTION = """a about across after again against all along also am among an and another any are around as at away
back be been before behind being below beneath beside between beyond both but by can could did do does doing down
during each either else every everyone few for from front had has have having he her here hers him his how if in
inside into is it its itself just like many may me might more most much must near no nobody nor not nothing now of off
on once one only onto or other others our out over own per quite same several she should so some somebody someone
something such than that the their them then there these they this those through to together too toward towards under
until up upon us very via was we were what when where which while who whom whose why will with within without would
yet you your"""
_CATALOGUE = """4k 8k hd uhd fhd 720p 1080p 2160p fps stock footage video videos clip clips shot shots shooting camera
background backdrop loop looped loopable seamless isolated animation id view closeup timelapse copyspace b roll"""
_CATALOGUE_PHRASES = re.compile(
    r"\b(?:close[- ]up|copy space|royalty[- ]free|full hd|motion graphics|b-roll|slow[- ]motion|time[- ]lapse"
    r"|first person|point of view)\b"
)
_STOP = frozenset(f"{_FUNCTION} {_CATALOGUE}".split())
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "mice": "mouse", "geese": "goose", "leaves": "leaf", "wolves": "wolf", "knives": "knife", "lives": "life",
}  # fmt: skip
_VALUES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18,
    "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90, "hundred": 100, "hundreds": 100, "thousand": 1000, "thousands": 1000, "million": 10**6,
    "millions": 10**6, "dozen": 12, "dozens": 12, "pair": 2, "couple": 2, "duo": 2, "twins": 2, "trio": 3,
}  # fmt: skip
_stemmer = snowballstemmer.stemmer("english")


@dataclass(frozen=True)
class Synonyms:
    """Words that count as one. ``canonical``: phrase -> the word that stands for it, both in lower case."""

    canonical: Mapping[str, str]

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        phrases = sorted(self.canonical, key=len, reverse=True)
        return re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})\b") if phrases else re.compile(r"(?!)")

    def fold(self, text: str) -> str:
        """``text`` in lower case with every phrase replaced by the word that stands for it."""
        return self._pattern.sub(lambda match: self.canonical[match[0]], text.lower())


def open_synonyms(source: str | None) -> Synonyms:
    """``world`` (those of the miniature world), a JSON file ``{"word": ["phrase", ...]}``, or none.

    Raises:
        UserError: the file is missing or of another form.
    """
    if source is None:
        return Synonyms({})
    if source == "world":
        groups: dict[str, tuple[str, ...]] = {**sloppy.SYNONYMS, "moves": sloppy.VERBS}
        return Synonyms({phrase: word for word, phrases in groups.items() for phrase in phrases})
    try:
        listed = json.loads(Path(source).read_text())
        return Synonyms({str(p).lower(): str(word).lower() for word, phrases in listed.items() for p in phrases})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"recaption.synonyms: {source} cannot be used: {error}",
            'give a JSON file such as {"man": ["guy", "gentleman"]}, or leave it empty',
        ) from error


@functools.lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """What the forms of a word (lower case) have in common."""
    word = word.split("'")[0].split("\u2019")[0]
    return str(_stemmer.stemWord(_IRREGULAR.get(word, word)))


def stems(text: str) -> set[str]:
    """Stems of every word of ``text``."""
    return {stem(word.lower()) for word in _WORD.findall(text)}


def content_words(text: str) -> list[str]:
    """The content words of ``text`` in lower case, each stem once, in their order."""
    found: dict[str, str] = {}
    for word in _WORD.findall(_CATALOGUE_PHRASES.sub(" ", text.lower())):
        form = len(word) >= 6 and word.endswith(("ing", "ed", "ly"))
        number = word in _VALUES or any(map(str.isdigit, word))
        if len(word) > 1 and word not in _STOP and not form and not number:
            found.setdefault(stem(word), word)
    return list(found.values())


def new_names(original: str, answer: str) -> list[str]:
    """Words of ``answer`` that are written as a name and that ``original`` does not have, in any form.

    A capital letter makes a name, but not by itself at the start of a sentence: there only before another new word with
    a capital, or where the word is no plural. Names in small letters pass.
    """
    known = stems(original)
    matches = list(_WORD.finditer(answer))
    new = [_is_new(match[0], known) for match in matches]
    names = []
    for number, match in enumerate(matches):
        if not new[number]:
            continue
        first = number == 0 or bool(re.search(r"[.!?]\s*$", answer[: match.start()]))
        plural = match[0].endswith("s") and not (number + 1 < len(new) and new[number + 1])
        if not (first and plural):
            names.append(match[0])
    return names


def _is_new(word: str, known: set[str]) -> bool:
    """Whether a word has a capital, and is neither a function word nor akin to a known one (surfer, surf)."""
    if not word[0].isupper() or word.lower() in _STOP or word.lower() in _VALUES:
        return False
    root = stem(word.lower())
    return not any(root == other or (min(len(root), len(other)) >= 4 and _akin(root, other)) for other in known)


def _akin(first: str, second: str) -> bool:
    return first.startswith(second) or second.startswith(first)


def new_counts(original: str, answer: str) -> list[str]:
    """Numbers of ``answer``, in figures or words, that ``original`` does not state; "one" is no count."""
    words = [word.lower() for word in _WORD.findall(original)]
    known = {1, *filter(None, map(_value, words))}
    numbers = [word for word in _WORD.findall(answer) if _value(word.lower()) or any(map(str.isdigit, word))]
    return [word for word in numbers if word.lower() not in words and _value(word.lower()) not in known]


def _value(word: str) -> int | None:
    return int(word) if word.isdecimal() else _VALUES.get(word)


def is_latin(text: str) -> bool:
    """Whether at least half of the letters are of the Latin alphabet, as an English answer's are."""
    letters = [character for character in text if character.isalpha()]
    latin = sum(character < "\u0250" or "\u1e00" <= character <= "\u1eff" for character in letters)
    return 2 * latin >= len(letters)
