"""The charts of the report as inline SVG: training curves, and bars or dots with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from evaluation.report.svg import Scale, element, picture, span, tick_labels

_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 22, 12, 40  # margins of a plot
_MARKS = ("circle", "square", "diamond", "triangle", "arrow", "star")


@dataclass(frozen=True, slots=True)
class Line:
    """A series over steps; ``color`` names a CSS variable."""

    label: str
    color: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Dot:
    """A value with its interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its text says the value in words."""

    label: str
    value: float
    text: str
    color: str
    low: float | None = None
    high: float | None = None


def line_chart(title: str, lines: Sequence[Line], y_label: str, smoothing: int) -> Markup:
    """Each series as a faint raw line under its centred moving average over ``smoothing`` steps."""
    width, height = 460.0, 250.0
    x = Scale(*span((step for line in lines for step in line.steps), 0.0), _LEFT, width - _RIGHT)
    smooth = [_smooth(line.values, smoothing) for line in lines]
    y = Scale(*_visible(lines, smooth), height - _BOTTOM, _TOP)
    parts = [*_axes(x, y, width, height, "training step", y_label)]
    for line, average in zip(lines, smooth, strict=True):
        parts.append(_path(x, y, line.steps, line.values, line.color, "raw"))
        parts.append(_path(x, y, line.steps, average, line.color, "smooth"))
    if len(lines) > 1:
        parts += _legend(lines, _LEFT + 10, _TOP + 8)
    return picture(width, height, title, *parts)


def _smooth(values: Sequence[float], window: int) -> list[float]:
    return pl.Series(values, dtype=pl.Float64).rolling_mean(window, min_samples=1, center=True).to_list()


def _visible(lines: Sequence[Line], smooth: Sequence[list[float]]) -> tuple[float, float]:
    """The range of all but the most extreme hundredth of the raw values, and of every average: a single spike must
    not flatten the curve."""
    raw = pl.Series([value for line in lines for value in line.values], dtype=pl.Float64)
    ends = [raw.quantile(0.005) or 0.0, raw.quantile(0.995) or 0.0]
    return span([*ends, *(value for average in smooth for value in average)])


def _axes(x: Scale, y: Scale, width: float, height: float, x_label: str, y_label: str) -> list[Markup]:
    parts = []
    for tick, text in zip(y.ticks(), tick_labels(y.ticks()), strict=True):
        parts.append(element("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(element("text", text, x=x.start - 6, y=y(tick) + 4, text_anchor="end"))
    for tick, text in zip(x.ticks(), tick_labels(x.ticks()), strict=True):
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=y.start, y2=y.start + 4, class_="axis"))
        parts.append(element("text", text, x=x(tick), y=y.start + 17, text_anchor="middle"))
    parts.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    parts.append(element("text", x_label, x=(x.start + x.end) / 2, y=height - 5, text_anchor="middle", class_="label"))
    middle = f"rotate(-90 11 {(y.start + y.end) / 2:.0f})"
    parts.append(
        element("text", y_label, x=11, y=(y.start + y.end) / 2, text_anchor="middle", transform=middle, class_="label")
    )
    return parts


def _path(x: Scale, y: Scale, steps: Sequence[float], values: Sequence[float], color: str, kind: str) -> Markup:
    top, bottom = min(y.start, y.end), max(y.start, y.end)
    points = " ".join(
        f"{x(step):.1f},{min(max(y(value), top), bottom):.1f}" for step, value in zip(steps, values, strict=True)
    )
    return element("polyline", points=points, class_=f"line {kind}", style=f"--c: var(--{color})")


def _legend(lines: Sequence[Line], left: float, top: float) -> list[Markup]:
    parts = []
    for line in lines:
        parts.append(element("rect", x=left, y=top, width=14, height=3, style=f"fill: var(--{line.color})"))
        parts.append(element("text", line.label, x=left + 19, y=top + 5))
        left += 32 + 6.6 * len(line.label)
    return parts


def bar_chart(title: str, bars: Sequence[Bar], x_label: str, top: float, chance: float) -> Markup:
    """Horizontal bars on an axis from 0 to ``top``, with whiskers; a dashed line at ``chance``."""
    row, left, width = 30.0, 84.0, 540.0
    height = row * len(bars) + 44
    x = Scale(0.0, top, left, width - 70)
    bottom = row * len(bars) + 6
    parts = _x_axis(x, 4, bottom, x_label, height)
    for number, bar in enumerate(bars):
        y = 6 + row * number
        parts.append(element("text", bar.label, x=left - 8, y=y + row / 2 + 4, text_anchor="end"))
        parts.append(
            element(
                "rect", x=left, y=y + 5, width=x(bar.value) - left, height=row - 10, style=f"fill: var(--{bar.color})"
            )
        )
        parts += _whisker(x, bar.low, bar.high, y + row / 2, "whisker strong")
        end = x(max(bar.value, bar.high or 0.0))
        parts.append(element("text", bar.text, x=end + 8, y=y + row / 2 + 4, class_="value"))
    parts.append(element("line", x1=x(chance), x2=x(chance), y1=4, y2=bottom, class_="chance"))
    return picture(width, height, title, *parts)


def _x_axis(x: Scale, top: float, bottom: float, label: str, height: float) -> list[Markup]:
    parts = []
    for tick, text in zip(x.ticks(), tick_labels(x.ticks()), strict=True):
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=top, y2=bottom, class_="grid"))
        parts.append(element("text", text, x=x(tick), y=bottom + 15, text_anchor="middle"))
    parts.append(element("text", label, x=(x.start + x.end) / 2, y=height - 4, text_anchor="middle", class_="label"))
    return parts


def _whisker(x: Scale, low: float | None, high: float | None, y: float, kind: str, color: str = "ink") -> list[Markup]:
    if low is None or high is None:
        return []
    style = f"--c: var(--{color})"
    ends = [element("line", x1=x(end), x2=x(end), y1=y - 3, y2=y + 3, class_=kind, style=style) for end in (low, high)]
    return [element("line", x1=x(low), x2=x(high), y1=y, y2=y, class_=kind, style=style), *ends]


def dot_plot(title: str, rows: Sequence[tuple[str, Sequence[Dot | None]]], series: Sequence[tuple[str, str]]) -> Markup:
    """One row per label, one mark per series (name, colour) with its interval, on an axis from 0 to 1."""
    step, left, width = 9.0, 168.0, 720.0
    row = step * len(series) + 12
    bottom = 34 + row * len(rows)
    height = bottom + 38
    x = Scale(0.0, 1.0, left, width - 16)
    parts = _dot_legend(series, left)
    parts += _x_axis(x, 28, bottom, "raw score (share of 1; whiskers: 95 % interval)", height)
    for number, (label, dots) in enumerate(rows):
        y = 34 + row * number
        if number % 2:
            parts.insert(0, element("rect", x=0, y=y, width=width, height=row, class_="stripe"))
        parts.append(element("text", label, x=left - 10, y=y + row / 2 + 4, text_anchor="end"))
        for place, (dot, (_, color)) in enumerate(zip(dots, series, strict=True)):
            if dot is None:
                continue
            middle = y + 6 + step * (place + 0.5)
            parts += _whisker(x, dot.low, dot.high, middle, "whisker", color)
            parts.append(_mark(_MARKS[place % len(_MARKS)], x(dot.value), middle, color))
    return picture(width, height, title, *parts)


def _dot_legend(series: Sequence[tuple[str, str]], left: float) -> list[Markup]:
    parts = []
    for place, (name, color) in enumerate(series):
        parts.append(_mark(_MARKS[place % len(_MARKS)], left + 6, 14, color))
        parts.append(element("text", name, x=left + 15, y=18))
        left += 34 + 6.8 * len(name)
    return parts


def _mark(shape: str, x: float, y: float, color: str) -> Markup:
    """A mark of about 8 pixels; shapes differ so that colour is not needed to tell series apart."""
    style = f"fill: var(--{color}); stroke: var(--{color})"
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=3.8, style=style)
    outlines = {
        "square": ((-3.4, -3.4), (3.4, -3.4), (3.4, 3.4), (-3.4, 3.4)),
        "diamond": ((0.0, -4.8), (4.8, 0.0), (0.0, 4.8), (-4.8, 0.0)),
        "triangle": ((0.0, -4.6), (4.4, 3.4), (-4.4, 3.4)),
        "arrow": ((0.0, 4.6), (4.4, -3.4), (-4.4, -3.4)),
        "star": ((0.0, -5.4), (1.6, -1.6), (5.4, 0.0), (1.6, 1.6), (0.0, 5.4), (-1.6, 1.6), (-5.4, 0.0), (-1.6, -1.6)),
    }
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in outlines[shape])
    return element("polygon", points=points, style=style)
