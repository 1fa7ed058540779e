"""The filters against the truth: what was kept and dropped, for which reason, and whether rightly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from hummingbird.data.bounds import REASONS
from hummingbird.data.world import QUALITY_SPOILAGE, SPOILAGE

#: Reason -> the kinds of spoiling that it stands for. A dark or pale clip is of low quality, too. The world spoils no
#: clip in the ways of the other reasons: whatever they drop is a mistake.
STANDS_FOR: dict[str, tuple[str, ...]] = {
    "black": ("dark",),
    "too_dark": ("dark",),
    "overexposed": ("washed_out",),
    "frozen": ("static",),
    "blocky": ("compression",),
    "low_quality": QUALITY_SPOILAGE,
    "static": ("static",),
    "dolly_zoom": ("dolly_zoom",),
}
GOOD = "none"  # kind of a clip that was not spoilt
KEPT = "kept"  # verdict on a clip that was not dropped


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage left of the clips, and how many it did not, by reason, most frequent first.

    ``loses`` is false for recaptioning: clips whose caption could not be rewritten go on with the one they came with.
    """

    stage: str
    left: int
    out: dict[str, int]
    loses: bool = True


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many clips the crawl had, and what became of them, step by step."""

    crawled: int
    steps: tuple[Step, ...]

    @property
    def kept(self) -> int:
        """Clips that are left after the last step that loses any."""
        return next((step.left for step in reversed(self.steps) if step.loses), self.crawled)


def funnel(tables: Mapping[str, pl.DataFrame]) -> Funnel | None:
    """What became of the clips, from the clip tables by stage; ``None`` before the download."""
    if "download" not in tables:
        return None
    steps, before = [], Counter[str]()
    for stage in (name for name in ("download", *REASONS) if name in tables):
        kept = verdicts(tables[stage])["verdict"].to_list()
        dropped = Counter(verdict for verdict in kept if verdict != KEPT)
        steps.append(Step(stage, kept.count(KEPT), _by_size(dropped - before)))
        before = dropped
    if "recaption" in tables:
        steps.append(_recaptioned(tables["recaption"]))
    return Funnel(len(tables["download"]), tuple(steps))


def _recaptioned(table: pl.DataFrame) -> Step:
    reasons = table.filter(pl.col("kept"))["recaption_reason"].fill_null("").str.split(":").list.first().to_list()
    left = Counter(reason for reason in reasons if reason)
    return Step("recaption", len(reasons) - left.total(), _by_size(left), loses=False)


def _by_size(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def verdicts(table: pl.DataFrame) -> pl.DataFrame:
    """``clip_id`` and ``verdict``: :data:`KEPT`, or the reason (its code, without the detail)."""
    code = pl.col("reason").str.split(":").list.first()
    return table.select("clip_id", pl.when("kept").then(pl.lit(KEPT)).otherwise(code).alias("verdict"))


def judged_clips(tables: Mapping[str, pl.DataFrame], truth: pl.DataFrame) -> pl.DataFrame:
    """``clip_id``, ``verdict`` and true ``kind`` of every clip that reached the filters and whose truth is known."""
    last = next(name for name in ("motion_filter", "vqa_filter") if name in tables)
    reached = tables["download"].filter(pl.col("kept")).select("clip_id")
    kinds = truth.select("clip_id", pl.col("spoilage").fill_null(GOOD).alias("kind"))
    return verdicts(tables[last]).join(reached, on="clip_id").join(kinds, on="clip_id")


def precision_and_recall(tables: Mapping[str, pl.DataFrame], truth: pl.DataFrame | None) -> dict[str, Any]:
    """Precision and recall of each reason and of all together (``all``); ``kinds`` has the recall of each kind.

    Precision of a reason: share of the clips dropped for it that are spoilt in a kind it stands for. Recall: share of
    the clips spoilt in such a kind that were dropped, for whatever reason. A figure that needs a filter which has not
    run, or a truth that nobody knows, is ``None``.
    """
    ran = [name for name in REASONS if name in tables and "download" in tables]
    if truth is None or truth.is_empty():
        ran = []
    clips = judged_clips(tables, truth) if ran and truth is not None else _NO_CLIPS
    dropped, spoilt = clips["verdict"] != KEPT, clips["kind"] != GOOD
    figures: dict[str, Any] = {}
    for stage, reasons in REASONS.items():
        for reason in reasons:
            figures[reason] = _figures(clips, reason) if stage in ran else _UNKNOWN
    whole = len(ran) == len(REASONS)
    right = int((dropped & spoilt).sum())
    figures["all"] = (
        {**_ratios(right, int(dropped.sum()), right, int(spoilt.sum())), "clips": len(clips)} if whole else _UNKNOWN
    )
    figures["kinds"] = {kind: _recall(clips, kind) if whole else _UNKNOWN_KIND for kind in SPOILAGE}
    return figures


_NO_CLIPS = pl.DataFrame(schema={"clip_id": pl.String(), "verdict": pl.String(), "kind": pl.String()})
_UNKNOWN: dict[str, Any] = {"precision": None, "recall": None, "dropped": None, "spoilt": None}
_UNKNOWN_KIND: dict[str, Any] = {"recall": None, "clips": None}


def _figures(clips: pl.DataFrame, reason: str) -> dict[str, Any]:
    meant = clips["kind"].is_in(list(STANDS_FOR.get(reason, (reason,))))
    by_it = clips["verdict"] == reason
    caught = int((meant & (clips["verdict"] != KEPT)).sum())
    return _ratios(int((by_it & meant).sum()), int(by_it.sum()), caught, int(meant.sum()))


def _ratios(right: int, dropped: int, caught: int, spoilt: int) -> dict[str, Any]:
    return {
        "precision": right / dropped if dropped else None,
        "recall": caught / spoilt if spoilt else None,
        "dropped": dropped,
        "spoilt": spoilt,
    }


def _recall(clips: pl.DataFrame, kind: str) -> dict[str, Any]:
    verdict = clips.filter(pl.col("kind") == kind)["verdict"]
    return {"recall": int((verdict != KEPT).sum()) / len(verdict) if len(verdict) else None, "clips": len(verdict)}


def confusion(tables: Mapping[str, pl.DataFrame], truth: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Number of clips by true kind (good ones first) and verdict (:data:`KEPT` first, then the reasons that stand for
    a kind or occur)."""
    clips = judged_clips(tables, truth)
    rows = clips.group_by("kind", "verdict").len().iter_rows()
    pairs = {(kind, verdict): number for kind, verdict, number in rows}
    occurring = set(clips["verdict"]) | set(STANDS_FOR)
    columns = [KEPT, *(reason for reasons in REASONS.values() for reason in reasons if reason in occurring)]
    return {kind: {column: pairs.get((kind, column), 0) for column in columns} for kind in (GOOD, *SPOILAGE)}
