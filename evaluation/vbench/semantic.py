"""Miniature scorers of VBench's nine semantic dimensions: whether a clip shows what its prompt says.

Each takes uint8 clips [B, T, H, W, 3], their prompts and the judges, and returns one value in 0..1 per clip. Single
facts are read by the probe, agreement with the whole prompt by the held-out video-text model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evaluation.vbench.judges import Judges, Scores, Videos
from evaluation.vbench.objects import crop, find, label_colors, relation_holds
from evaluation.vbench.prompts import Prompt
from hummingbird.data import world
from hummingbird.models.probe import HEADS


def object_class(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """1 where the probe sees the shape that was asked for."""
    return _right(videos, prompts, judges, "shape", lambda scene: scene.objects[0].shape)


def color(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """1 where the probe sees the colour that was asked for."""
    return _right(videos, prompts, judges, "color", lambda scene: scene.objects[0].color)


def human_action(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """1 where the probe sees the object move (or rest) as asked."""
    return _right(videos, prompts, judges, "motion", lambda scene: scene.motion)


def scene(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """1 where the probe sees the background that was asked for."""
    return _right(videos, prompts, judges, "background", lambda scene: scene.background)


def appearance_style(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """The probe's probability of the texture that was asked for (graded, as CLIP's similarity is in VBench)."""
    return _probability(videos, prompts, judges, "texture", lambda scene: scene.objects[0].texture)


def temporal_style(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """The probe's probability of the camera motion that was asked for."""
    return _probability(videos, prompts, judges, "motion", lambda scene: scene.motion)


def overall_consistency(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """Cosine of clip and prompt by the held-out video-text model (VBench: ViCLIP), from 0."""
    return np.clip(judges.video_scores(videos, [prompt.text for prompt in prompts]), 0.0, 1.0)


def multiple_objects(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """Share of frames that show both colours, where the probe also reads both shapes rightly off their windows."""
    scores = np.zeros(len(videos))
    windows: list[np.ndarray] = []
    wanted: list[tuple[int, str]] = []
    for index, (video, prompt) in enumerate(zip(videos, prompts, strict=True)):
        labels = label_colors(video)
        pair = [find(labels, thing.color) for thing in prompt.scene.objects]
        both = pair[0].visible & pair[1].visible
        scores[index] = both.mean()
        if both.any():
            for thing, found in zip(prompt.scene.objects, pair, strict=True):
                windows.append(crop(video, found))
                wanted.append((index, thing.shape))
    if windows:
        shapes = judges.probabilities(np.stack(windows), "shape").argmax(1)
        for seen, (index, shape) in zip(shapes, wanted, strict=True):
            if HEADS["shape"][seen] != shape:
                scores[index] = 0.0
    return scores


def spatial_relationship(videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> Scores:
    """Share of frames in which the first colour lies where the prompt says, seen from the second."""
    scores = []
    for video, prompt in zip(videos, prompts, strict=True):
        labels = label_colors(video)
        first, second = (find(labels, thing.color) for thing in prompt.scene.objects)
        scores.append(relation_holds(first, second, prompt.scene.relation or "").mean())
    return np.array(scores)


def _probability(
    videos: Videos, prompts: Sequence[Prompt], judges: Judges, head: str, fact: Callable[[world.Scene], str]
) -> Scores:
    probabilities = judges.probabilities(videos, head)
    wanted = [HEADS[head].index(fact(prompt.scene)) for prompt in prompts]
    return probabilities[np.arange(len(wanted)), wanted]


def _right(
    videos: Videos, prompts: Sequence[Prompt], judges: Judges, head: str, fact: Callable[[world.Scene], str]
) -> Scores:
    seen = judges.probabilities(videos, head).argmax(1)
    wanted = [HEADS[head].index(fact(prompt.scene)) for prompt in prompts]
    return (seen == np.array(wanted)).astype(np.float64)
