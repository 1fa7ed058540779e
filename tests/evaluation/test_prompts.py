"""The suite is reproducible, held out where it says so, and covers all 16 dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.vbench.prompts import build_suite, render_prompts, select, suite_hash, video_seed
from evaluation.vbench.protocol import DIMENSIONS
from hummingbird.data.world import is_held_out

SUITE = build_suite(256, 48, seed=97)


def test_every_dimension_has_prompts() -> None:
    counts = {name: len(select(SUITE, name)) for name in DIMENSIONS}
    assert min(counts.values()) >= 20, counts
    assert counts["color"] == 256
    assert counts["spatial_relationship"] == 48


def test_no_dimension_is_unknown() -> None:
    assert {name for prompt in SUITE for name in prompt.dimensions} == set(DIMENSIONS)


def test_one_object_prompts_are_held_out_of_training() -> None:
    for prompt in SUITE[:256]:
        thing = prompt.scene.objects[0]
        assert is_held_out(thing.color, thing.shape, prompt.scene.motion), prompt.text
        assert len(prompt.scene.objects) == 1


def test_prompts_are_all_different() -> None:
    assert len({prompt.text for prompt in SUITE}) == 304


def test_the_hash_names_the_list() -> None:
    assert suite_hash(build_suite(256, 48, seed=97)) == suite_hash(SUITE)
    assert suite_hash(build_suite(256, 48, seed=98)) != suite_hash(SUITE)
    assert suite_hash(SUITE[:-1]) != suite_hash(SUITE)


def test_a_shorter_suite_begins_with_the_same_prompts() -> None:
    assert [p.text for p in build_suite(40, 0, seed=97)] == [p.text for p in SUITE[:40]]


def test_entries_have_vbench_form() -> None:
    entry = SUITE[-1].to_vbench()
    assert set(entry) == {"prompt_en", "dimension", "auxiliary_info"}
    relation = entry["auxiliary_info"]["spatial_relationship"]["spatial_relationship"]
    assert f"{relation['relationship']}" in entry["prompt_en"]


def test_no_two_videos_share_their_noise() -> None:
    seeds = {video_seed(seed, index) for seed in (1, 2, 3) for index in range(304)}
    assert len(seeds) == 3 * 304


@pytest.mark.parametrize("size", [32, 48])
def test_real_clips_of_the_prompts(size: int) -> None:
    clips = render_prompts(SUITE[:3], [1, 2, 3], frames=8, size=size)
    assert clips.shape == (3, 8, size, size, 3)
    assert np.array_equal(clips, render_prompts(SUITE[:3], [1, 2, 3], frames=8, size=size))
