"""The grammar of the miniature world's captions: facts to text and, strictly, text to facts.

The canonical grammar (brackets mark what may be absent)::

    a [SIZE] [TEXTURE] [COLOR] SHAPE [RELATION a [TEXTURE] [COLOR] SHAPE]
      [moves [SPEED] DIRECTION | stays still] [on BACKGROUND] [while the camera zooms in|zooms out|pans left|pans right]

:func:`compose` writes it, :func:`parse` reads it, and ``world.caption`` is ``compose`` of every fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hummingbird.data import world
from hummingbird.data.world import Scene


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a caption says of one object; ``None`` = not said."""

    shape: str
    color: str | None = None
    texture: str | None = None
    size: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a caption says; ``None`` = not said. ``motion`` is one of :data:`world.MOTIONS`."""

    objects: tuple[ObjectFacts, ...]
    relation: str | None = None
    background: str | None = None
    motion: str | None = None
    speed: str | None = None


def facts_of(scene: Scene) -> Facts:
    """Every fact that the canonical caption of ``scene`` states: no sizes when there are two objects."""
    alone = scene.relation is None
    objects = tuple(ObjectFacts(o.shape, o.color, o.texture, o.size if alone else None) for o in scene.objects)
    return Facts(objects, scene.relation, scene.background, scene.motion, scene.speed)


# ------------------------------------------------------------------------------------------------------- grammar


def _noun_phrase(thing: ObjectFacts) -> str:
    return " ".join(["a", *filter(None, (thing.size, thing.texture, thing.color)), thing.shape])


def compose(facts: Facts) -> str:
    """The canonical caption that states ``facts`` and nothing else."""
    parts = [_noun_phrase(facts.objects[0])]
    if facts.relation is not None:
        parts += [facts.relation, _noun_phrase(facts.objects[1])]
    camera = facts.motion in world.CAMERA_MOTIONS
    if facts.motion == "still" or camera:
        parts.append("stays still")
    elif facts.motion is not None:
        parts.append(" ".join(filter(None, ("moves", facts.speed, facts.motion))))
    if facts.background is not None:
        parts.append(f"on {facts.background}")
    if facts.motion is not None and camera:
        verb, direction = facts.motion.split()
        parts.append(f"while the camera {verb}s {direction}")
    return " ".join(parts)


def _one_of(words: Iterable[str]) -> str:
    return "|".join(words)


def _noun_pattern(name: str) -> str:
    return (
        rf"a (?:(?P<{name}_size>{_one_of(world.SIZES)}) )?(?:(?P<{name}_texture>{_one_of(world.TEXTURES)}) )?"
        rf"(?:(?P<{name}_color>{_one_of(world.COLORS)}) )?(?P<{name}_shape>{_one_of(world.SHAPES)})"
    )


_DIRECTIONS = tuple(motion for motion in world.OBJECT_MOTIONS if motion != "still")
_GRAMMAR = re.compile(
    rf"{_noun_pattern('first')}(?: (?P<relation>{_one_of(world.RELATIONS)}) {_noun_pattern('second')})?"
    rf"(?: (?:moves (?:(?P<speed>{_one_of(world.SPEEDS)}) )?(?P<direction>{_one_of(_DIRECTIONS)})"
    r"|(?P<still>stays still)))?"
    rf"(?: on (?P<background>{_one_of(world.BACKGROUNDS)}))?"
    r"(?: while the camera (?P<camera>zooms in|zooms out|pans left|pans right))?"
)


class CaptionError(ValueError):
    """A caption is not in the canonical grammar."""


def parse(caption: str) -> Facts:
    """Read a caption in the canonical grammar.

    Raises:
        CaptionError: it is not in the grammar, to the letter.
    """
    match = _GRAMMAR.fullmatch(caption)
    if match is None or (match["camera"] and not match["still"]):
        raise CaptionError(f"not in the canonical grammar: {caption!r}")
    objects = tuple(
        ObjectFacts(match[f"{n}_shape"], match[f"{n}_color"], match[f"{n}_texture"], match[f"{n}_size"])
        for n in ("first", "second")
        if match[f"{n}_shape"]
    )
    motion = match["direction"] or ("still" if match["still"] else None)
    if match["camera"]:
        verb, direction = match["camera"].split()
        motion = f"{verb.removesuffix('s')} {direction}"
    return Facts(objects, match["relation"], match["background"], motion, match["speed"])


def states_facts(caption: str, scene: Scene) -> bool:
    """Whether a caption states the colours, shapes, motion and background of ``scene``, and nothing that is false.

    Size, texture and speed may be absent but not wrong. Text outside the grammar states nothing.
    """
    try:
        said = parse(caption)
    except CaptionError:
        return False
    true = facts_of(scene)
    if len(said.objects) != len(true.objects) or (said.relation, said.motion) != (true.relation, true.motion):
        return False
    if said.background != true.background or said.speed not in (None, true.speed):
        return False
    return all(
        (s.color, s.shape) == (t.color, t.shape) and s.texture in (None, t.texture) and s.size in (None, t.size)
        for s, t in zip(said.objects, true.objects, strict=True)
    )
