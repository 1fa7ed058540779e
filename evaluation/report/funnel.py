"""The funnel as a Sankey diagram: the clips that go on run along the top, the others branch off by reason."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from markupsafe import Markup

from evaluation.report.filters import Funnel, Step
from evaluation.report.formats import count, percent, words
from evaluation.report.svg import element, picture
from evaluation.report.templates import FOLDER

LABELS = {
    "download": "usable",
    "vqa_filter": "pass quality",
    "motion_filter": "pass motion",
    "recaption": "with a new caption",
}
_WIDTH, _LAST = 1110.0, 140.0  # of the chart, and of its last column
_TOP, _FULL = 46.0, 150.0  # where the flow begins, and how high all clips are
_NODE, _BEND = 12.0, 58.0  # width of a node, and of the curve to a reason
_LINE = 17.0  # a reason takes at least so much
_MOST = 8  # reasons by name


def funnel_chart(funnel: Funnel) -> Markup:
    """The funnel, 1110 pixels wide and as high as its reasons need."""
    gap = (_WIDTH - _LAST) / max(1, len(funnel.steps))
    scale = _FULL / max(1, funnel.crawled)
    parts = _node(4.0, "crawled", funnel.crawled, funnel.crawled, scale)
    bottom, before = _TOP + _FULL, funnel.crawled
    for number, step in enumerate(funnel.steps):
        left = 4.0 + number * gap
        height = step.left * scale
        style = "fill: var(--accent); opacity: 0.3"
        parts.append(element("rect", x=left + _NODE, y=_TOP, width=gap - _NODE, height=height, style=style))
        branches, end = _branches(left + _NODE, _TOP + height, step, scale)
        parts += branches + _node(left + gap, LABELS[step.stage], step.left, funnel.crawled, scale)
        bottom, before = max(bottom, end), step.left
    title = f"Of {count(funnel.crawled)} clips {count(before)} came through; the others by reason"
    return picture(_WIDTH, bottom + 8, title, *parts)


def _node(x: float, label: str, clips: int, crawled: int, scale: float) -> list[Markup]:
    share = percent(clips / crawled if crawled else None, 0)
    return [
        element("text", label, x=x, y=_TOP - 24, class_="label"),
        element("text", count(clips), element("tspan", f"  {share}", class_="soft"), x=x, y=_TOP - 8, class_="value"),
        element("rect", x=x, y=_TOP, width=_NODE, height=max(1.5, clips * scale), style="fill: var(--accent)"),
    ]


def _branches(x: float, y: float, step: Step, scale: float) -> tuple[list[Markup], float]:
    """What leaves at ``x``, below ``y``, with the reasons as a list under the flow; and where that ends."""
    color = "bad" if step.loses else "image"
    parts: list[Markup] = []
    target = _TOP + _FULL + 22
    reasons = _named(step.out)
    starts = accumulate(reasons.values(), initial=0)
    for start, (reason, clips) in zip(starts, reasons.items(), strict=False):
        thick = max(1.5, clips * scale)
        place = max(thick, _LINE)
        to = target + (place - thick) / 2
        parts.append(_ribbon(x, y + start * scale, clips * scale, x + _BEND, to, thick, color))
        parts.append(element("rect", x=x + _BEND, y=to, width=5, height=thick, style=f"fill: var(--{color})"))
        text = (f"{words(reason, 22)} ", element("tspan", count(clips), class_="value"))
        parts.append(element("text", *text, x=x + _BEND + 11, y=target + place / 2 + 4))
        target += place + 2
    return parts, target


def _named(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent reasons, and the others together."""
    if len(counts) <= _MOST:
        return dict(counts)
    first = dict(list(counts.items())[: _MOST - 1])
    return {**first, f"{len(counts) - len(first)} other reasons": sum(counts.values()) - sum(first.values())}


def _ribbon(x: float, y: float, start: float, to_x: float, to_y: float, end: float, color: str) -> Markup:
    middle = (x + to_x) / 2
    there = f"M{x:.1f},{y:.1f} C{middle:.1f},{y:.1f} {middle:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}"
    back = f"L{to_x:.1f},{to_y + end:.1f} C{middle:.1f},{to_y + end:.1f} {middle:.1f},{y + start:.1f} "
    return element("path", d=f"{there} {back}{x:.1f},{y + start:.1f} Z", style=f"fill: var(--{color}); opacity: 0.35")


def funnel_file(funnel: Funnel) -> str:
    """The same as an SVG file that needs no page around it."""
    style = Markup("<style>{}\nsvg {{ background: var(--panel); }}</style>").format(
        Markup((FOLDER / "page.css").read_text())
    )
    chart = str(funnel_chart(funnel))
    head, _, rest = chart.partition(">")
    width, height = head.partition('viewBox="0 0 ')[2].partition('"')[0].split()
    sized = head.replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"', 1)
    return f"{sized}>{style}{rest}\n"
