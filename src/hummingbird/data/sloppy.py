"""Captions in the manner of stock footage: the facts of a scene in other words, in disorder, amid catalogue noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hummingbird.data import world
from hummingbird.data.captions import CaptionError, Facts, ObjectFacts, facts_of, parse
from hummingbird.data.world import Scene

#: Chance that a fact is missing. Without colour, background or motion a caption no longer says what the clip shows,
#: and a rewrite that sees only the text cannot know it.
MISSING = {"size": 0.25, "texture": 0.3, "speed": 0.3, "color": 0.06, "background": 0.06, "motion": 0.05}

SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden", "lemon"),
    "green": ("green", "emerald", "lime"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "blue": ("blue", "azure", "cobalt"),
    "purple": ("purple", "violet"),
    "white": ("white", "ivory", "snowy"),
    "circle": ("circle", "ball", "disc"),
    "square": ("square", "block", "box"),
    "triangle": ("triangle", "wedge"),
    "cross": ("cross", "plus sign"),
    "ring": ("ring", "hoop", "donut"),
    "plain": ("plain", "solid", "uniform"),
    "striped": ("striped", "stripy", "lined"),
    "dotted": ("dotted", "spotted", "polka dot"),
    "small": ("small", "tiny", "little"),
    "large": ("large", "big", "huge"),
    "brick": ("brick", "brick wall", "bricks"),
    "grass": ("grass", "lawn", "meadow"),
    "sea": ("sea", "ocean", "water"),
    "sand": ("sand", "beach", "dunes"),
    "night": ("night", "night sky", "starry sky"),
    "slowly": ("slowly", "slow", "gently"),
    "quickly": ("quickly", "fast", "rapidly"),
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "on top of", "higher than"),
    "below": ("below", "under", "beneath"),
    "left": ("left", "leftwards", "to the left"),
    "right": ("right", "rightwards", "to the right"),
    "up": ("up", "upwards"),
    "down": ("down", "downwards"),
    "still": ("stays still", "motionless", "at rest", "stationary", "not moving", "resting"),
    "zoom in": ("camera zooms in", "camera pushes in", "zooming in", "camera moving closer"),
    "zoom out": ("camera zooms out", "camera pulls out", "zooming out", "camera moving away"),
    "pan left": ("camera pans left", "panning left", "camera pan to the left"),
    "pan right": ("camera pans right", "panning right", "camera pan to the right"),
}
VERBS = ("moves", "moving", "drifts", "drifting", "slides", "sliding", "goes", "gliding")
PLACES = ("on {}", "over {}", "against {}", "{} background", "{} backdrop", "{}")
NOISE = (
    "4k stock footage", "HD video clip", "stock video", "royalty free", "b-roll", "seamless loop", "1080p", "full HD",
    "isolated", "close up", "4K", "footage", "ID {}", "#{}", "clip {}", "copy space", "animation", "motion graphics",
)  # fmt: skip


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _say(rng: np.random.Generator, fact: str) -> str:
    return _pick(rng, SYNONYMS[fact])


def _forget(facts: Facts, rng: np.random.Generator) -> Facts:
    """Drop facts at random, except shapes and the relation: without a noun there is nothing left to caption."""
    gone = {name for name, chance in MISSING.items() if rng.random() < chance}
    objects = tuple(
        ObjectFacts(o.shape, *(None if name in gone else getattr(o, name) for name in ("color", "texture", "size")))
        for o in facts.objects
    )
    kept = {name: None for name in ("background", "motion", "speed") if name in gone}
    if "motion" in gone:
        kept["speed"] = None
    return replace(facts, objects=objects, **kept)


def _noun_phrase(thing: ObjectFacts, rng: np.random.Generator) -> str:
    words = [_say(rng, fact) for fact in (thing.size, thing.texture, thing.color) if fact]
    rng.shuffle(words)
    return " ".join([*words, _say(rng, thing.shape)])


def _motion_phrases(facts: Facts, rng: np.random.Generator) -> list[str]:
    if facts.motion is None:
        return []
    if facts.motion == "still":
        return [_say(rng, "still")]
    if facts.motion in world.CAMERA_MOTIONS:
        return [_say(rng, "still"), _say(rng, facts.motion)]
    words = [_pick(rng, VERBS), _say(rng, facts.motion)]
    if facts.speed:
        words.insert(int(rng.integers(1, 3)), _say(rng, facts.speed))
    return [" ".join(words)]


def _noise(rng: np.random.Generator) -> list[str]:
    count = int(rng.choice([0, 1, 2], p=[0.25, 0.5, 0.25]))
    return [_pick(rng, NOISE).format(int(rng.integers(1_000, 9_999_999))) for _ in range(count)]


def _recase(text: str, rng: np.random.Generator) -> str:
    style = _pick(rng, ("as it is", "lower", "upper", "title", "sentence"))
    cases = {"lower": str.lower, "upper": str.upper, "title": str.title, "sentence": str.capitalize}
    return cases[style](text) if style in cases else text


def dirty(scene: Scene, rng: np.random.Generator) -> tuple[str, Facts]:
    """A sloppy caption of ``scene`` and the facts that it still states."""
    facts = _forget(facts_of(scene), rng)
    subject = _noun_phrase(facts.objects[0], rng)
    if facts.relation is not None:
        subject += f" {_say(rng, facts.relation)} {_noun_phrase(facts.objects[1], rng)}"
    place = [_pick(rng, PLACES).format(_say(rng, facts.background))] if facts.background else []
    motion = _motion_phrases(facts, rng)
    if rng.random() < 0.5:  # word soup
        phrases = [subject, *motion, *place, *_noise(rng)]
        rng.shuffle(phrases)
        text = _pick(rng, (", ", " ", " - ")).join(phrases)
    else:
        article = _pick(rng, ("a ", "", "the "))
        text = " ".join([article + subject, *motion[:1], *place, *motion[1:]])
        text = ", ".join([text, *_noise(rng)]) + _pick(rng, ("", ".", "..."))
    text = _recase(text, rng)
    try:
        parse(text)
    except CaptionError:
        return text, facts
    return f"{text} stock footage", facts  # came out clean by chance


def sloppy(scene: Scene, rng: np.random.Generator) -> str:
    """A sloppy caption of ``scene``; never in the canonical grammar."""
    return dirty(scene, rng)[0]
