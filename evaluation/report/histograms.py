"""How the scores are distributed that the filters decide by, with the bounds drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup
from numpy.typing import NDArray

from evaluation.report.svg import Scale, element, picture, tick_labels
from hummingbird.params import Params

_WIDTH, _HEIGHT = 350.0, 168.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 18.0, 18.0, 26.0, 38.0
_BINS = 35


@dataclass(frozen=True, slots=True)
class Score:
    """A column of the clip table. ``low`` and ``high``: parameters that bound it, if any; ``share``: whether its range
    is 0 to 1; ``both``: whether ``high`` bounds it either way."""

    column: str
    label: str
    stage: str
    low: str = ""
    high: str = ""
    share: bool = True
    both: bool = False


QUALITY = (
    Score("overall", "overall quality (DOVER)", "vqa_filter", low="min_overall"),
    Score("technical", "technical quality (DOVER)", "vqa_filter", low="min_technical"),
    Score("aesthetic", "aesthetic quality (DOVER)", "vqa_filter", low="min_aesthetic"),
)
MOTION = (
    Score("static", "static: share of frames like the first", "motion_filter", high="max_static"),
    Score("dolly_zoom", "dolly zoom", "motion_filter", high="max_dolly_zoom"),
    Score("jitter", "jitter, shorter sides per second", "motion_filter", high="max_jitter", share=False),
    Score("camera_zoom", "zoom, as a logarithm", "motion_filter", high="max_zoom", share=False, both=True),
    Score("camera_pan", "pan, shorter sides", "motion_filter", share=False),
    Score("subject_motion", "motion of the subject", "motion_filter", share=False),
)
SIGNALS = (
    Score("black", "black frames", "vqa_filter", high="max_black"),
    Score("highlights", "luma of the brightest pixels", "vqa_filter", low="min_highlights"),
    Score("shadows", "luma of the darkest pixels", "vqa_filter", high="max_shadows"),
    Score("frozen", "repeated frames", "vqa_filter", high="max_frozen"),
    Score("bars", "black bars", "vqa_filter", high="max_bars"),
    Score("blockiness", "blocks of 8 x 8", "vqa_filter", high="max_blockiness"),
)


def histograms(tables: Mapping[str, pl.DataFrame], scores: tuple[Score, ...], params: Params) -> list[Markup]:
    """A chart of each score that was measured. A bound counts for nothing where it is not set, or 0."""
    found = []
    for score in scores:
        table = tables.get(score.stage)
        if table is None or score.column not in table.columns:
            continue
        values = table[score.column].drop_nulls().drop_nans().to_numpy()
        if len(values):
            found.append(histogram(score, values, *_bounds(score, getattr(params, score.stage))))
    return found


def _bounds(score: Score, settings: Any) -> tuple[float | None, float | None]:
    low = (getattr(settings, score.low) or None) if score.low else None
    high = getattr(settings, score.high) if score.high else None
    return (-high, high) if score.both and high is not None else (low, high)


def histogram(score: Score, values: NDArray[Any], low: float | None, high: float | None) -> Markup:
    """Bars of ``values``, red beyond the bounds, which are dashed. What lies far out is in the outermost bars."""
    start, stop = (0.0, 1.0) if score.share else _span(values, low, high)
    counts, edges = np.histogram(values.clip(start, stop), _BINS, (start, stop))
    x = Scale(start, stop, _LEFT, _WIDTH - _RIGHT)
    y = Scale(0.0, float(counts.max()), _HEIGHT - _BOTTOM, _TOP)
    parts = [element("text", f"n = {len(values):,}", x=_WIDTH - _RIGHT, y=15, text_anchor="end")]
    for tick, text in zip(x.ticks(), tick_labels(x.ticks()), strict=True):
        parts.append(element("text", text, x=x(tick), y=_HEIGHT - _BOTTOM + 15, text_anchor="middle"))
    for number, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if number:
            middle = (left + right) / 2
            out = (low is not None and middle < low) or (high is not None and middle > high)
            top = min(y(float(number)), y.start - 1)
            color = f"fill: var(--{'bad' if out else 'accent'})"
            bar = {"x": x(left) + 0.5, "width": x(right) - x(left) - 1, "y": top, "height": y.start - top}
            parts.append(element("rect", **bar, style=color))
    parts.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    bounds = [bound for bound in (low, high) if bound is not None and start <= bound <= stop]
    parts += [element("line", x1=x(it), x2=x(it), y1=_TOP - 8, y2=y.start, class_="chance") for it in bounds]
    if low is not None or high is not None:
        name, value = (score.high, high) if high is not None else (score.low, low)
        parts.append(element("text", f"{name} {value:g}", x=_LEFT, y=15, class_="value"))
    parts.append(element("text", score.label, x=_WIDTH / 2, y=_HEIGHT - 6, text_anchor="middle", class_="label"))
    return picture(_WIDTH, _HEIGHT, f"Distribution of {score.label}", *parts)


def _span(values: NDArray[Any], low: float | None, high: float | None) -> tuple[float, float]:
    """Where all but the outermost hundredths lie, and the bounds."""
    ends = [bound for bound in (low, high) if bound is not None]
    start = min(0.0, float(np.quantile(values, 0.01)), *(1.1 * bound for bound in ends))
    stop = max(start + 1e-3, float(np.quantile(values, 0.99)), *(1.1 * bound for bound in ends))
    return start, stop
