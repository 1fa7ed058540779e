"""The world is the ground truth of everything after it: it must be what its captions say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hummingbird.data import world
from hummingbird.data.captions import facts_of, parse
from hummingbird.data.spoil import degrade
from hummingbird.data.world import Scene, SceneObject

TRIES = 200


def scene(motion: str = "still", **changes: object) -> Scene:
    speed = "quickly" if motion in ("left", "right", "up", "down") else None
    thing = SceneObject("red", "circle", "plain", "small")
    return dataclasses.replace(Scene((thing,), None, "night", motion, speed), **changes)


def red_mask(video: world.Video) -> np.ndarray:
    """Pixels [T, H, W] of a red object in front of the night."""
    r, g, b = np.moveaxis(video.astype(int), -1, 0)
    return (r > 130) & (g < 100) & (b < 100)


def centres(video: world.Video) -> np.ndarray:
    """Centre (x, y) of the red object in each frame [T, 2]."""
    return np.array([np.argwhere(mask).mean(axis=0)[::-1] for mask in red_mask(video)])


def test_a_clip_follows_from_seed_and_index_alone() -> None:
    once, again = (world.make_clip(5, 17, spoilt_share=0.5) for _ in range(2))
    assert np.array_equal(once.video, again.video)
    assert once.scene == again.scene
    assert not np.array_equal(once.video, world.make_clip(5, 18).video)
    assert not np.array_equal(once.video, world.make_clip(6, 17).video)


def test_clips_are_rgb_videos_of_the_size_asked_for() -> None:
    video = world.make_clip(1, 1, frames=5, size=48).video
    assert (video.shape, video.dtype) == ((5, 48, 48, 3), np.uint8)


@pytest.mark.parametrize("held_out", [False, True])
def test_captions_parse_back_to_their_scene(held_out: bool) -> None:
    for index in range(TRIES):
        drawn = world.sample_scene(np.random.default_rng([3, index]), held_out=held_out)
        assert parse(world.caption(drawn)) == facts_of(drawn)


def test_held_out_combinations_never_occur_in_training() -> None:
    for index in range(TRIES):
        drawn = world.sample_scene(np.random.default_rng([1, index]))
        assert not any(world.is_held_out(o.color, o.shape, drawn.motion) for o in drawn.objects)
        kept_out = world.sample_scene(np.random.default_rng([1, index]), held_out=True)
        assert world.is_held_out(kept_out.objects[0].color, kept_out.objects[0].shape, kept_out.motion)


def test_about_a_fifth_of_all_combinations_is_held_out() -> None:
    verdicts = [world.is_held_out(c, s, m) for c in world.COLORS for s in world.SHAPES for m in world.MOTIONS]
    assert 0.15 < np.mean(verdicts) < 0.25


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)])
def test_objects_move_the_way_the_caption_says(motion: str, axis: int, sign: int) -> None:
    steps = np.diff(centres(world.render(scene(motion), np.random.default_rng(0))), axis=0)
    assert (sign * steps[:, axis] > 0.5).all()
    assert np.abs(steps[:, 1 - axis]).max() < 0.3


def test_quickly_is_faster_than_slowly() -> None:
    slow, fast = (
        np.ptp(centres(world.render(scene("left", speed=speed), np.random.default_rng(0)))[:, 0])
        for speed in ("slowly", "quickly")
    )
    assert fast > 1.5 * slow


def test_a_camera_pan_moves_everything_the_other_way() -> None:
    right = centres(world.render(scene("pan right"), np.random.default_rng(0)))
    left = centres(world.render(scene("pan left"), np.random.default_rng(0)))
    assert (np.diff(right[:, 0]) < 0).all()
    assert (np.diff(left[:, 0]) > 0).all()


@pytest.mark.parametrize(("motion", "sign"), [("zoom in", 1), ("zoom out", -1)])
def test_zooms_change_the_size_of_the_subject(motion: str, sign: int) -> None:
    area = red_mask(world.render(scene(motion), np.random.default_rng(0))).sum(axis=(1, 2))
    assert (sign * np.diff(area.astype(int)) > 0).all()


def test_a_dolly_zoom_scales_the_background_but_not_the_subject() -> None:
    plain = scene(background="brick", objects=(SceneObject("cyan", "square", "plain", "large"),))
    video = world.render(dataclasses.replace(plain, spoilage="dolly_zoom"), np.random.default_rng(0)).astype(int)
    subject = (video[..., 2] > 180) & (video[..., 0] < 120)
    area = subject.sum(axis=(1, 2))
    assert area.min() > 50
    assert np.ptp(area) <= 0.03 * area.max()
    background = video[~subject.any(axis=0)[None].repeat(len(video), 0)].reshape(len(video), -1)
    assert np.abs(background[0] - background[-1]).mean() > 5


def test_static_clips_are_frozen_and_good_ones_never_are() -> None:
    frozen = world.render(scene("left", spoilage="static"), np.random.default_rng(0))
    assert (frozen == frozen[0]).all()
    for index in range(40):
        video = world.make_clip(2, index).video.astype(int)
        assert np.abs(np.diff(video, axis=0)).mean() > 0.1


@pytest.mark.parametrize("relation", world.RELATIONS)
def test_two_objects_stand_as_their_relation_says(relation: str) -> None:
    blue = SceneObject("blue", "square", "plain", "small")
    video = world.render(scene(objects=(*scene().objects, blue), relation=relation), np.random.default_rng(0))
    red = centres(video)[0]
    frame = video[0].astype(int)
    second = np.argwhere((frame[..., 2] > 180) & (frame[..., 0] < 100)).mean(axis=0)[::-1]
    axis, sign = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}[relation]
    assert sign * (red - second)[axis] > 5


def test_the_share_of_spoilt_clips_is_what_was_asked_for() -> None:
    kinds = [world.make_clip(4, index, spoilt_share=0.4, frames=2, size=8).scene.spoilage for index in range(300)]
    assert 0.32 < np.mean([kind is not None for kind in kinds]) < 0.48
    assert {kind for kind in kinds if kind} == set(world.SPOILAGE)


@pytest.mark.parametrize("kind", world.QUALITY_SPOILAGE)
def test_quality_spoilage_does_what_its_name_says(kind: str) -> None:
    clean = world.make_clip(7, 3).video
    spoilt = degrade(clean, kind, np.random.default_rng(0))
    assert (spoilt.shape, spoilt.dtype) == (clean.shape, np.uint8)

    def detail(video: world.Video) -> float:
        return float(np.abs(np.diff(video.astype(int), axis=2)).mean())

    if kind == "blur":
        assert detail(spoilt) < 0.8 * detail(clean)
    elif kind == "noise":
        assert detail(spoilt) > 1.5 * detail(clean)
    elif kind == "dark":
        assert spoilt.mean() < 0.3 * clean.mean()
    elif kind == "washed_out":
        assert spoilt.mean() > clean.mean() and spoilt.std() < 0.5 * clean.std()
    else:
        assert np.abs(spoilt.astype(int) - clean).mean() > 3


def test_an_unknown_kind_of_spoiling_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of spoiling 'scratches'"):
        degrade(world.make_clip(1, 1).video, "scratches", np.random.default_rng(0))
