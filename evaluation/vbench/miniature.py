"""The miniature's scorers, one per VBench dimension, by name.

Scorers of four semantic dimensions give a share (0 wrong, 1 right), while VBench's raw scores of those dimensions are
similarities that never come near 1. There the share is written on VBench's range (``low + share * (high - low)``), so
that the protocol's own normalisation gives it back.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.vbench.judges import Judges, Scores, Videos
from evaluation.vbench.prompts import Prompt, select
from evaluation.vbench.protocol import DIMENSIONS, check_dimension

ScoreFunction = Callable[[Videos, Sequence[Prompt], Judges], Scores]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A scoring function, imported when first used. ``version`` changes whenever its values can."""

    target: str  # "module:function"
    version: str
    is_share: bool = False  # written on VBench's range of the dimension

    def load(self) -> ScoreFunction:
        module, name = self.target.split(":")
        function: ScoreFunction = getattr(importlib.import_module(module), name)
        return function


_MODULES = {"quality": "evaluation.vbench.quality", "semantic": "evaluation.vbench.semantic"}


def _scorer(group: str, name: str, version: str = "1", is_share: bool = False) -> Scorer:
    return Scorer(f"{_MODULES[group]}:{name}", version, is_share)


SCORERS: dict[str, Scorer] = {
    "subject_consistency": _scorer("quality", "subject_consistency"),
    "background_consistency": _scorer("quality", "background_consistency"),
    "temporal_flickering": _scorer("quality", "temporal_flickering"),
    "motion_smoothness": _scorer("quality", "motion_smoothness"),
    "dynamic_degree": _scorer("quality", "dynamic_degree"),
    "aesthetic_quality": _scorer("quality", "aesthetic_quality"),
    "imaging_quality": _scorer("quality", "imaging_quality"),
    "object_class": _scorer("semantic", "object_class"),
    "multiple_objects": _scorer("semantic", "multiple_objects"),
    "human_action": _scorer("semantic", "human_action"),
    "color": _scorer("semantic", "color"),
    "spatial_relationship": _scorer("semantic", "spatial_relationship"),
    "scene": _scorer("semantic", "scene", is_share=True),
    "appearance_style": _scorer("semantic", "appearance_style", is_share=True),
    "temporal_style": _scorer("semantic", "temporal_style", is_share=True),
    "overall_consistency": _scorer("semantic", "overall_consistency", is_share=True),
}


def get_scorer(dimension: str) -> Scorer:
    """The scorer of a dimension.

    Raises:
        UserError: there is none of that name; the message has the nearest.
    """
    check_dimension(dimension, SCORERS)
    return SCORERS[dimension]


def score_dimension(dimension: str, videos: Videos, prompts: Sequence[Prompt], judges: Judges) -> dict[int, float]:
    """Raw VBench score of every clip that belongs to ``dimension``, by the position of its prompt.

    Raises:
        ValueError: no prompt belongs to the dimension, or a clip was given a score that is not in 0..1.
    """
    scorer = get_scorer(dimension)
    chosen = select(prompts, dimension)
    if not chosen:
        raise ValueError(f"no prompt of the suite belongs to {dimension}")
    scores = scorer.load()(videos[chosen], [prompts[index] for index in chosen], judges)
    if scores.shape != (len(chosen),) or not ((scores >= 0) & (scores <= 1 + 1e-9)).all():
        raise ValueError(f"{dimension} gave {scores.shape} scores for {len(chosen)} clips, or some outside 0..1")
    if scorer.is_share:
        scores = np.array([DIMENSIONS[dimension].denormalise(share) for share in scores])
    return {index: float(score) for index, score in zip(chosen, np.clip(scores, 0, 1), strict=True)}
