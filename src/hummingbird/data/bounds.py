"""The bounds of the filters: which score drops a clip for which reason, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hummingbird.params import Section


@dataclass(frozen=True, slots=True)
class Bound:
    """A clip is dropped for ``reason`` if ``column`` is beyond what ``parameter`` allows: below a ``min_``, or above a
    ``max_``, where the sign of a score does not count."""

    reason: str
    column: str
    parameter: str

    def limit(self, section: Section) -> float | None:
        """What ``section`` allows; None where the bound is switched off."""
        value: float | None = getattr(section, self.parameter)
        return value

    def is_crossed(self, value: float | None, limit: float | None) -> bool:
        """Whether a score is out of bounds; one that was never measured is not."""
        if value is None or limit is None:
            return False
        return value < limit if self.parameter.startswith("min_") else abs(value) > limit


SIGNAL_BOUNDS = (
    Bound("black", "black", "max_black"),
    Bound("too_dark", "highlights", "min_highlights"),
    Bound("overexposed", "shadows", "max_shadows"),
    Bound("frozen", "frozen", "max_frozen"),
    Bound("letterbox", "bars", "max_bars"),
    Bound("blocky", "blockiness", "max_blockiness"),
)
DOVER_BOUNDS = (
    Bound("low_aesthetic", "aesthetic", "min_aesthetic"),
    Bound("low_technical", "technical", "min_technical"),
    Bound("low_quality", "overall", "min_overall"),
)
MOTION_BOUNDS = (
    Bound("static", "static", "max_static"),
    Bound("dolly_zoom", "dolly_zoom", "max_dolly_zoom"),
    Bound("jitter", "jitter", "max_jitter"),
    Bound("zoom", "camera_zoom", "max_zoom"),
)
#: By filter, which is the name of its section of ``params.yaml`` as well.
BOUNDS = {"vqa_filter": (*SIGNAL_BOUNDS, *DOVER_BOUNDS), "motion_filter": MOTION_BOUNDS}
UNREADABLE = "unreadable"  # a clip that does not decode any more
NOT_BEST = "not_best"  # dropped by ``vqa_filter.keep_best`` alone
#: The reasons of each filter, in the order in which they are tried.
REASONS = {
    "vqa_filter": (UNREADABLE, *(bound.reason for bound in BOUNDS["vqa_filter"]), NOT_BEST),
    "motion_filter": tuple(bound.reason for bound in MOTION_BOUNDS),
}


def first_crossed(bounds: Sequence[Bound], scores: Mapping[str, Any], section: Section) -> str:
    """The reason of the first bound that a clip crosses, or ""."""
    crossed = (bound.reason for bound in bounds if bound.is_crossed(scores[bound.column], bound.limit(section)))
    return next(crossed, "")
