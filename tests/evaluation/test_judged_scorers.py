"""Scorers that ask the shipped judges, on real clips whose right order is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.metrics import CHANCE, clip_figures, diversity
from evaluation.vbench.judges import Judges, Videos
from evaluation.vbench.miniature import score_dimension
from evaluation.vbench.prompts import Prompt, build_suite, render_prompts, select
from evaluation.vbench.protocol import DIMENSIONS
from hummingbird.data.spoil import degrade

SUITE = build_suite(120, 24, seed=5)
REAL = render_prompts(SUITE, range(len(SUITE)), frames=8, size=32)


def _share(dimension: str, videos: Videos, prompts: list[Prompt], judges: Judges) -> float:
    """Mean score as a share of the dimension's range."""
    scores = score_dimension(dimension, videos, prompts, judges)
    return DIMENSIONS[dimension].normalise(float(np.mean(list(scores.values()))))


def _spoilt(kind: str) -> Videos:
    rng = np.random.default_rng(0)
    return np.stack([degrade(video, kind, rng) for video in REAL])


def _torn() -> Videos:
    """From the middle on, each clip goes on as another one."""
    return np.concatenate([REAL[:, :4], np.roll(REAL[:, 4:], 1, axis=0)], axis=1)


def _wrong_prompts(dimension: str) -> list[Prompt]:
    """Each prompt of the dimension replaced by the next one that differs in every fact."""
    chosen = select(SUITE, dimension)
    wrong = list(SUITE)
    for place, index in enumerate(chosen):
        rest = (SUITE[other] for other in [*chosen[place + 1 :], *chosen[:place]])
        wrong[index] = next(prompt for prompt in rest if _differs(prompt, SUITE[index]))
    return wrong


def _differs(one: Prompt, other: Prompt) -> bool:
    facts = [
        (
            p.scene.motion,
            p.scene.background,
            p.scene.objects[0].color,
            p.scene.objects[0].shape,
            p.scene.objects[0].texture,
        )
        for p in (one, other)
    ]
    return all(a != b for a, b in zip(*facts, strict=True))


@pytest.mark.parametrize(
    ("dimension", "least"),
    [
        ("object_class", 0.85),
        ("color", 0.95),
        ("human_action", 0.9),
        ("scene", 0.95),
        ("appearance_style", 0.7),
        ("temporal_style", 0.85),
        ("overall_consistency", 0.6),
    ],
)
def test_the_matching_prompt_beats_a_wrong_one(dimension: str, least: float, judges: Judges) -> None:
    right = _share(dimension, REAL, SUITE, judges)
    assert right >= least
    assert _share(dimension, REAL, _wrong_prompts(dimension), judges) < right - 0.4


def test_both_objects_are_asked_for(judges: Judges) -> None:
    right = _share("multiple_objects", REAL, SUITE, judges)
    assert right >= 0.6
    assert _share("multiple_objects", REAL, _wrong_prompts("multiple_objects"), judges) < 0.1


@pytest.mark.parametrize("kind", ["blur", "noise", "compression"])
def test_sharp_clips_beat_technically_spoilt_ones(kind: str, judges: Judges) -> None:
    assert (
        _share("imaging_quality", REAL, SUITE, judges) > _share("imaging_quality", _spoilt(kind), SUITE, judges) + 0.1
    )


@pytest.mark.parametrize("kind", ["dark", "washed_out"])
def test_well_exposed_clips_beat_badly_exposed_ones(kind: str, judges: Judges) -> None:
    real, spoilt = (_share("aesthetic_quality", videos, SUITE, judges) for videos in (REAL, _spoilt(kind)))
    assert real > spoilt + 0.1


@pytest.mark.parametrize("dimension", ["subject_consistency", "background_consistency"])
@pytest.mark.parametrize("spoil", [_torn, lambda: _spoilt("noise")], ids=["torn", "noise"])
def test_what_stays_the_same_beats_what_changes(dimension: str, spoil: Callable[[], Videos], judges: Judges) -> None:
    assert _share(dimension, REAL, SUITE, judges) > _share(dimension, spoil(), SUITE, judges) + 0.02


def test_figures_of_real_clips_against_those_of_wrong_prompts(judges: Judges) -> None:
    single = select(SUITE, "color")
    prompts, videos = [SUITE[index] for index in single], REAL[single]
    right = {name: values.mean() for name, values in clip_figures(videos, prompts, videos, judges).items()}
    wrong_prompts = [_wrong_prompts("color")[index] for index in single]
    wrong = {name: values.mean() for name, values in clip_figures(videos, wrong_prompts, videos, judges).items()}
    assert right["probe_all"] > 0.8
    assert wrong["probe_all"] < 0.05
    assert right["probe_clean"] > 0.8
    for name in ("held_out_image_reward", "held_out_video_reward", "held_out_reward"):
        assert right[name] > wrong[name] + 0.2, name
    assert right["flicker"] == 0.0


def test_chance_is_what_guessing_gives(judges: Judges) -> None:
    prompts = [SUITE[index] for index in select(SUITE, "color")]
    noise = np.random.default_rng(0).integers(0, 256, (len(prompts), 8, 32, 32, 3), dtype=np.uint8)
    assert clip_figures(noise, prompts, noise, judges)["probe_all"].mean() < CHANCE["probe_all"] + 0.05


def test_one_picture_again_and_again_has_no_diversity(judges: Judges) -> None:
    same = np.repeat(REAL[:4, None], 3, axis=1)
    seeds = np.stack([render_prompts(SUITE[:4], [seed] * 4, frames=8, size=32) for seed in (1, 2, 3)], axis=1)
    for name, scores in diversity(same, judges).items():
        assert scores == pytest.approx(np.zeros(4), abs=1e-5), name
        assert (diversity(seeds, judges)[name] > 1e-3).all(), name
