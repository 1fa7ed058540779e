"""VBench's aggregation: raw scores of the dimensions -> normalised -> quality, semantic and total.

Ranges, weights and the 4:1 mix of quality and semantic are the constants of the VBench leaderboard; they reproduce
every published aggregate of the paper's Table 1 to 0.01 percent (tested). Raw scores are fractions, not percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from hummingbird.errors import UserError, did_you_mean

Group = Literal["quality", "semantic", "i2v"]


@dataclass(frozen=True, slots=True)
class Dimension:
    """Normalisation range and weight of one dimension: ``normalised = (raw - low) / (high - low)``."""

    low: float
    high: float
    weight: float
    group: Group

    def normalise(self, raw: float) -> float:
        """Raw score -> share of the range. Not clipped: VBench does not clip either."""
        return (raw - self.low) / (self.high - self.low)

    def denormalise(self, share: float) -> float:
        """Share of the range -> raw score."""
        return self.low + share * (self.high - self.low)


DIMENSIONS: dict[str, Dimension] = {
    "subject_consistency": Dimension(0.1462, 1.0, 1.0, "quality"),
    "background_consistency": Dimension(0.2615, 1.0, 1.0, "quality"),
    "temporal_flickering": Dimension(0.6293, 1.0, 1.0, "quality"),
    "motion_smoothness": Dimension(0.706, 0.9975, 1.0, "quality"),
    "dynamic_degree": Dimension(0.0, 1.0, 0.5, "quality"),
    "aesthetic_quality": Dimension(0.0, 1.0, 1.0, "quality"),
    "imaging_quality": Dimension(0.0, 1.0, 1.0, "quality"),
    "object_class": Dimension(0.0, 1.0, 1.0, "semantic"),
    "multiple_objects": Dimension(0.0, 1.0, 1.0, "semantic"),
    "human_action": Dimension(0.0, 1.0, 1.0, "semantic"),
    "color": Dimension(0.0, 1.0, 1.0, "semantic"),
    "spatial_relationship": Dimension(0.0, 1.0, 1.0, "semantic"),
    "scene": Dimension(0.0, 0.8222, 1.0, "semantic"),
    "appearance_style": Dimension(0.0009, 0.2855, 1.0, "semantic"),
    "temporal_style": Dimension(0.0, 0.364, 1.0, "semantic"),
    "overall_consistency": Dimension(0.0, 0.364, 1.0, "semantic"),
}

#: VBench-I2V: three dimensions of its own, and the text-to-video quality group without flickering.
I2V_DIMENSIONS: dict[str, Dimension] = {
    "camera_motion": Dimension(0.0, 1.0, 0.1, "i2v"),
    "i2v_subject": Dimension(0.1462, 1.0, 1.0, "i2v"),
    "i2v_background": Dimension(0.2615, 1.0, 1.0, "i2v"),
    **{
        name: dimension
        for name, dimension in DIMENSIONS.items()
        if dimension.group == "quality" and name != "temporal_flickering"
    },
}

_QUALITY_SHARE = 0.8  # total = (4 quality + semantic) / 5


def aggregate(scores: Mapping[str, float]) -> dict[str, float]:
    """All 16 raw scores -> ``quality``, ``semantic`` and ``total``, as fractions.

    Raises:
        UserError: a dimension is missing or unknown, or a score lies outside 0..1. A partial set has no total.
    """
    _check(scores, DIMENSIONS)
    quality = _weighted(scores, DIMENSIONS, "quality")
    semantic = _weighted(scores, DIMENSIONS, "semantic")
    return {
        "quality": quality,
        "semantic": semantic,
        "total": _QUALITY_SHARE * quality + (1 - _QUALITY_SHARE) * semantic,
    }


def aggregate_i2v(scores: Mapping[str, float]) -> dict[str, float]:
    """All 9 raw scores of VBench-I2V -> ``i2v``, ``quality`` and ``total`` (their mean), as fractions.

    Raises:
        UserError: as in :func:`aggregate`.
    """
    _check(scores, I2V_DIMENSIONS)
    i2v = _weighted(scores, I2V_DIMENSIONS, "i2v")
    quality = _weighted(scores, I2V_DIMENSIONS, "quality")
    return {"i2v": i2v, "quality": quality, "total": (i2v + quality) / 2}


def check_dimension(name: str, known: Iterable[str] = DIMENSIONS) -> None:
    """Refuse an unknown dimension, with the nearest known name."""
    if name not in (names := list(known)):
        raise UserError(f"unknown VBench dimension {name!r}", did_you_mean(name, names))


def _check(scores: Mapping[str, float], dimensions: Mapping[str, Dimension]) -> None:
    for name in scores:
        check_dimension(name, dimensions)
    missing = [name for name in dimensions if name not in scores]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(dimensions)} VBench dimensions are missing: {', '.join(missing)}",
            "score them first; a partial set is never averaged into a total",
        )
    # Also catches NaN, for which every comparison is false.
    wrong = {name: value for name, value in scores.items() if not 0.0 <= value <= 1.0}
    if wrong:
        listed = ", ".join(f"{name} = {value:g}" for name, value in wrong.items())
        raise UserError(f"VBench scores outside 0..1: {listed}", "give fractions (divide percent by 100)")


def _weighted(scores: Mapping[str, float], dimensions: Mapping[str, Dimension], group: Group) -> float:
    members = {name: dimension for name, dimension in dimensions.items() if dimension.group == group}
    total = sum(dimension.weight * dimension.normalise(scores[name]) for name, dimension in members.items())
    return total / sum(dimension.weight for dimension in members.values())
