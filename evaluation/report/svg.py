"""The little of SVG that the charts need. Colours are CSS variables of the page, so that charts follow its scheme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from evaluation.report.formats import MINUS


def element(name: str, *content: Markup | str, **attributes: str | float) -> Markup:
    """``<name ...>content</name>``; ``class_`` and ``text_anchor`` become ``class`` and ``text-anchor``."""
    pairs = ((key.rstrip("_").replace("_", "-"), _attribute(value)) for key, value in attributes.items())
    head = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in pairs)
    return Markup("<{}{}>{}</{}>").format(Markup(name), head, Markup("").join(map(escape, content)), Markup(name))


def _attribute(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Scale:
    """Linear map from values ``low..high`` to pixels ``start..end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the range."""
        found = MaxNLocator(count).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [float(tick) for tick in found if self.low - slack <= tick <= self.high + slack]


def span(values: Iterable[float], pad: float = 0.05) -> tuple[float, float]:
    """Lowest and highest of the values with a margin; never an empty range."""
    array = np.fromiter(values, float)
    low, high = float(array.min()), float(array.max())
    margin = (high - low) * pad or abs(high) * pad or 1.0
    return low - margin, high + margin


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """All with the same number of decimals, as few as tell them apart."""
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    digits = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
    if digits and not np.isclose(step * 10**digits, round(step * 10**digits)):
        digits += 1  # steps of 0.25
    return [f"{tick:,.{digits}f}".replace("-", MINUS) for tick in ticks]


def picture(width: float, height: float, title: str, *content: Markup) -> Markup:
    """An SVG that fills its box; ``title`` is its description for screen readers."""
    return element(
        "svg",
        element("title", title),
        *content,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        class_="chart",
        style=f"min-width: {0.7 * width:.0f}px; max-width: {1.2 * width:.0f}px",
    )
