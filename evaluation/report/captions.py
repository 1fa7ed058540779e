"""Recaptioning against the truth: does a caption state the facts of its clip, before and after?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from hummingbird.data.captions import states_facts
from hummingbird.data.world import Scene, SceneObject


def scene_of(truth: Mapping[str, Any]) -> Scene:
    """The scene that a row of the truth table tells of."""
    prefixes = ("", "second_") if truth["relation"] is not None else ("",)
    objects = tuple(
        SceneObject(*(truth[f"{prefix}{name}"] for name in ("color", "shape", "texture", "size")))
        for prefix in prefixes
    )
    return Scene(objects, truth["relation"], truth["background"], truth["motion"], truth["speed"])


def judge_captions(table: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Kept clips whose truth is known: ``raw_caption``, ``caption``, ``sloppy``, ``before`` and ``after`` (whether
    each of the two captions states the true facts, and nothing that is false)."""
    clips = table.filter(pl.col("kept")).select("clip_id", "raw_caption", "caption")
    joined = clips.join(truth, on="clip_id", maintain_order="left")
    scenes = [scene_of(row) for row in joined.iter_rows(named=True)]
    right = {
        name: [states_facts(text, scene) for text, scene in zip(joined[column], scenes, strict=True)]
        for name, column in (("before", "raw_caption"), ("after", "caption"))
    }
    return joined.select("raw_caption", "caption", "sloppy").with_columns(
        *(pl.Series(name, values, dtype=pl.Boolean) for name, values in right.items())
    )


def facts_stated(judged: pl.DataFrame | None) -> dict[str, float | int | None]:
    """Share of captions that state the facts, before and after; the same of the sloppy ones alone; ``n``."""
    if judged is None or judged.is_empty():
        return dict.fromkeys(("facts_before", "facts_after", "sloppy_facts_after", "n", "sloppy_n"))
    sloppy = judged.filter(pl.col("sloppy"))
    return {
        "facts_before": _share(judged["before"]),
        "facts_after": _share(judged["after"]),
        "sloppy_facts_after": _share(sloppy["after"]),
        "n": len(judged),
        "sloppy_n": len(sloppy),
    }


def _share(values: pl.Series) -> float | None:
    return int(values.sum()) / len(values) if len(values) else None


def examples(judged: pl.DataFrame, count: int) -> pl.DataFrame:
    """``count`` rewritten captions: up to a third wrong ones, if there are so many, so that nothing is hidden."""
    changed = judged.filter(pl.col("raw_caption") != pl.col("caption"))
    wrong = changed.filter(~pl.col("after")).head(count // 3)
    return pl.concat([changed.filter(pl.col("after")).head(count - len(wrong)), wrong])


def sample(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """``clip_id``, ``raw_caption``, ``caption`` and ``reason`` of about ``count`` kept clips of any table of captions:
    rewritten ones (reason "") from first to last, and up to a third that were left as they came, each for another
    reason."""
    code = pl.col("recaption_reason").str.split(":").list.first()
    kept = table.filter(pl.col("kept")).select(
        "clip_id", "raw_caption", "caption", reason=pl.col("recaption_reason").fill_null(""), code=code
    )
    left = kept.filter(pl.col("reason") != "").unique("code", keep="first", maintain_order=True).head(count // 3)
    rewritten = kept.filter(pl.col("reason") == "")
    step = max(1, len(rewritten) // max(1, count - len(left)))
    return pl.concat([rewritten.gather_every(step).head(count - len(left)), left]).drop("code")
