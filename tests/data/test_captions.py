from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hummingbird.data import sloppy, world
from hummingbird.data.captions import CaptionError, Facts, ObjectFacts, compose, facts_of, parse, states_facts
from hummingbird.data.world import Scene, SceneObject

SCENE = Scene((SceneObject("red", "circle", "plain", "large"),), None, "sea", "left", "slowly")
CAPTION = "a large plain red circle moves slowly left on sea"


def drawn(index: int) -> tuple[Scene, np.random.Generator]:
    rng = np.random.default_rng([9, index])
    return world.sample_scene(rng), rng


def test_compose_of_all_facts_is_the_worlds_caption() -> None:
    for index in range(300):
        scene, _ = drawn(index)
        assert compose(facts_of(scene)) == world.caption(scene)


@pytest.mark.parametrize(
    ("caption", "facts"),
    [
        ("a ring", Facts((ObjectFacts("ring"),))),
        ("a small blue cross on brick", Facts((ObjectFacts("cross", "blue", None, "small"),), None, "brick")),
        ("a circle moves up", Facts((ObjectFacts("circle"),), motion="up")),
        (
            "a red circle left of a dotted square stays still while the camera zooms in",
            Facts((ObjectFacts("circle", "red"), ObjectFacts("square", None, "dotted")), "left of", None, "zoom in"),
        ),
    ],
)
def test_captions_may_leave_facts_out(caption: str, facts: Facts) -> None:
    assert parse(caption) == facts
    assert compose(facts) == caption


@pytest.mark.parametrize(
    "caption",
    [
        "",
        CAPTION + ".",
        CAPTION.upper(),
        "a crimson circle moves left on sea",
        "a red large circle moves left on sea",
        "a red circle moves left on sea, 4k stock footage",
        "a red circle moves left while the camera zooms in",  # both move: not in the world
        "red circle",
    ],
)
def test_anything_else_is_refused(caption: str) -> None:
    with pytest.raises(CaptionError):
        parse(caption)
    assert not states_facts(caption, SCENE)


def test_a_caption_states_the_facts_if_nothing_needed_is_missing_and_nothing_is_false() -> None:
    assert states_facts(CAPTION, SCENE)
    assert states_facts("a red circle moves left on sea", SCENE)
    for wrong in ("a circle moves left on sea", "a red circle moves left", "a red circle on sea"):  # missing
        assert not states_facts(wrong, SCENE)
    for old, new in [("red", "blue"), ("circle", "ring"), ("left", "up"), ("sea", "sand"), ("slowly", "quickly"),
                     ("large", "small"), ("plain", "dotted")]:  # fmt: skip
        assert not states_facts(CAPTION.replace(old, new), SCENE)


def test_a_second_object_must_be_there_and_right() -> None:
    two = dataclasses.replace(SCENE, objects=(*SCENE.objects, SceneObject("blue", "ring", "plain", "small")),
                              relation="above")  # fmt: skip
    assert states_facts(world.caption(two), two)
    assert not states_facts(CAPTION, two)
    assert not states_facts(world.caption(two).replace("blue", "green"), two)
    assert not states_facts(world.caption(two).replace("above", "below"), two)


def test_sloppy_captions_are_never_clean_and_follow_from_the_generator() -> None:
    for index in range(300):
        scene, _ = drawn(index)
        text = sloppy.sloppy(scene, np.random.default_rng(index))
        assert text == sloppy.sloppy(scene, np.random.default_rng(index))
        assert text.strip() and "\n" not in text
        assert not states_facts(text, scene)


def test_what_a_sloppy_caption_still_states_is_true() -> None:
    states = []
    for index in range(500):
        scene, rng = drawn(index)
        text, facts = sloppy.dirty(scene, rng)
        spoken = text.lower()
        assert parse(compose(facts)) == facts
        for thing in facts.objects:
            for fact in filter(None, dataclasses.astuple(thing)):
                assert any(word in spoken for word in sloppy.SYNONYMS[fact])
        for fact in filter(None, (facts.background, facts.speed)):
            assert any(word in spoken for word in sloppy.SYNONYMS[fact])
        states.append(states_facts(compose(facts), scene))
    assert 0.75 < np.mean(states) < 0.92  # some miss what cannot be known from the text


def test_every_word_of_the_world_has_synonyms_that_mean_nothing_else() -> None:
    facts = {*world.COLORS, *world.SHAPES, *world.TEXTURES, *world.SIZES, *world.BACKGROUNDS, *world.SPEEDS}
    facts |= {*world.MOTIONS, *world.RELATIONS}
    assert facts == set(sloppy.SYNONYMS)
    phrases = [phrase for group in sloppy.SYNONYMS.values() for phrase in group]
    assert len(phrases) == len(set(phrases))
