"""Scorers and figures that need no network, on clips whose right order is known."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch

from evaluation.metrics import second_difference, spread
from evaluation.vbench import quality
from evaluation.vbench.judges import Judges, Videos
from evaluation.vbench.miniature import SCORERS, get_scorer, score_dimension
from evaluation.vbench.objects import find, label_colors, relation_holds
from evaluation.vbench.prompts import Prompt, build_suite, render_prompts, select
from evaluation.vbench.protocol import DIMENSIONS
from hummingbird.data import world
from hummingbird.errors import UserError

SUITE = build_suite(60, 24, seed=5)
REAL = render_prompts(SUITE, range(len(SUITE)), frames=8, size=32)
NO_JUDGES = cast(Judges, None)  # these scorers ask none


def _mean(dimension: str, videos: Videos, prompts: list[Prompt] = SUITE) -> float:
    return float(np.mean(list(score_dimension(dimension, videos, prompts, NO_JUDGES).values())))


def _flickering(videos: Videos) -> Videos:
    gain = np.random.default_rng(0).uniform(0.7, 1.0, videos.shape[:2])[..., None, None, None]
    return (videos * gain).astype(np.uint8)


def _frozen(videos: Videos) -> Videos:
    return np.repeat(videos[:, :1], videos.shape[1], axis=1)


def _shuffled(videos: Videos) -> Videos:
    return videos[:, [0, 5, 2, 7, 4, 1, 6, 3]]


def test_flickering_is_worse_than_still_and_frozen_is_perfect() -> None:
    assert _mean("temporal_flickering", _flickering(REAL)) < _mean("temporal_flickering", REAL) - 0.02
    assert _mean("temporal_flickering", _frozen(REAL)) == 1.0


def test_shuffled_frames_are_less_smooth() -> None:
    assert _mean("motion_smoothness", _shuffled(REAL)) < _mean("motion_smoothness", REAL) - 0.01


def test_smoothness_follows_the_motion_instead_of_averaging() -> None:
    chosen = [index for index, prompt in enumerate(SUITE) if prompt.scene.motion.startswith("pan")]
    pixels = REAL[chosen].astype(np.float32)
    averaged = np.abs((pixels[:, :-2:2] + pixels[:, 2::2]) / 2 - pixels[:, 1:-1:2]).mean() / 255
    assert 1 - quality.motion_smoothness(REAL[chosen], [], NO_JUDGES).mean() < averaged / 2


def test_everything_that_should_move_does_and_nothing_else() -> None:
    assert _mean("dynamic_degree", REAL) == 1.0
    assert _mean("dynamic_degree", _frozen(REAL)) == 0.0
    still = select(SUITE, "temporal_flickering")
    assert quality.dynamic_degree(REAL[still], [], NO_JUDGES).mean() < 0.1


def test_relations_are_seen_and_their_opposites_refused() -> None:
    assert _mean("spatial_relationship", REAL) > 0.97
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    wrong = [
        replace(prompt, scene=replace(prompt.scene, relation=opposite[prompt.scene.relation or ""]))
        if prompt.scene.relation
        else prompt
        for prompt in SUITE
    ]
    assert _mean("spatial_relationship", REAL, wrong) == 0.0


@pytest.mark.parametrize("color", world.COLORS)
def test_one_object_is_found_by_its_colour_only(color: str) -> None:
    thing = world.SceneObject(color, "square", "plain", "large")
    for background in world.BACKGROUNDS:
        scene = world.Scene((thing,), None, background, "still", None)
        labels = label_colors(world.render(scene, np.random.default_rng(1)))
        seen = {name for name in world.COLORS if find(labels, name).visible.any()}
        assert seen == {color}, background
        assert np.abs(find(labels, color).centers - 15.5).max() < 2


def test_a_relation_needs_both_objects() -> None:
    scene = SUITE[-1].scene
    labels = label_colors(REAL[-1])
    first, second = (find(labels, thing.color) for thing in scene.objects)
    missing = find(labels, next(name for name in world.COLORS if name not in {o.color for o in scene.objects}))
    assert relation_holds(first, second, scene.relation or "").all()
    assert not relation_holds(first, missing, scene.relation or "").any()


def test_consistency_of_known_features() -> None:
    same = torch.tensor([[1.0, 0.0]]).expand(1, 8, 2)
    turned = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4)[None]
    assert quality._consistency(same) == pytest.approx([1.0])
    # Frames 1-3 agree with both, frame 4 with neither, frames 5-7 with the one before only.
    assert quality._consistency(turned) == pytest.approx([(3 * 1.0 + 0.0 + 3 * 0.5) / 7])


def test_flicker_and_spread_figures() -> None:
    assert second_difference(_flickering(REAL)).mean() > 1.5 * second_difference(REAL).mean()
    ramp = np.broadcast_to(np.arange(0, 80, 10, dtype=np.uint8)[None, :, None, None, None], (1, 8, 4, 4, 3))
    assert second_difference(ramp) == pytest.approx([0.0], abs=1e-7)  # even change is not flicker
    assert spread(np.zeros((1, 8, 4, 4, 3), np.uint8)) == pytest.approx([0.0])
    halves = np.zeros((1, 2, 2, 2, 3), np.uint8)
    halves[:, 0] = 255
    assert spread(halves) == pytest.approx([0.5])


def test_every_dimension_has_a_scorer_that_loads() -> None:
    assert set(SCORERS) == set(DIMENSIONS)
    assert all(callable(scorer.load()) for scorer in SCORERS.values())


def test_an_unknown_scorer_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'motion_smoothness'"):
        get_scorer("motion_smothness")


def test_a_dimension_without_prompts_is_an_error_not_a_zero() -> None:
    with pytest.raises(ValueError, match="no prompt of the suite belongs to multiple_objects"):
        score_dimension("multiple_objects", REAL[:5], SUITE[:5], NO_JUDGES)
