"""The picture of a study of blocks: one bar a block, in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hummingbird.files import replacing
from hummingbird.prune.results import Row

KEPT, DROPPED, WHOLE = "#0b6b62", "#d98b2b", "#9aa4ae"
_COLORS = {True: KEPT, False: DROPPED, None: WHOLE}
_LOG_FROM = 30  # ratio of the largest to the smallest loss from which small ones would not be seen
_INTERVAL = 1.96  # standard errors of a 95 % interval


def draw(rows: Sequence[Row], header: Mapping[str, Any], path: Path) -> None:
    """Write the bars as PNG.

    Args:
        header: of ``importance.json``.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    figure = Figure(figsize=(8, 1.5 + 0.28 * len(rows)), dpi=90, layout="constrained")
    axes = figure.subplots()
    values = [row.relative for row in rows]
    singles = sum(row.kept is not None for row in rows)
    places = [number + (0.5 if number >= singles else 0) for number in range(len(rows))]  # a gap before whole plans
    axes.barh(
        places,
        values,
        xerr=[_INTERVAL * row.relative_error for row in rows],
        color=[_COLORS[row.kept] for row in rows],
        error_kw={"ecolor": "#1c2126", "elinewidth": 1, "capsize": 2},
        height=0.72,
    )
    positive = [value for value in values if value > 0]
    if positive and max(positive) > _LOG_FROM * min(positive):
        axes.set_xscale("log")
        axes.set_xlim(left=min(positive) / 3)
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("distillation loss / variance of the teacher's guided prediction (95 % interval)")
    axes.grid(axis="x", color="#dadfe3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        handles=[
            Patch(color=KEPT, label=f"kept by plan {header['plan']}"),
            Patch(color=DROPPED, label="dropped by it"),
            Patch(color=WHOLE, label="all that a plan drops"),
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    figure.suptitle(
        f"What the teacher loses without a block\n{header['teacher']}, {header['teacher_parameters']:,} parameters, "
        f"n = {header['samples']}, seed {header['seed']}, before any training",
        fontsize="medium",
    )
    with replacing(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})
