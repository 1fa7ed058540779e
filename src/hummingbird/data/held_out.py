"""Which clips a training must never see, because something is judged by them."""

from __future__ import annotations

import hashlib

import polars as pl

from hummingbird.errors import UserError


def hold_out(index: pl.DataFrame, count: int, parameter: str) -> tuple[list[str], frozenset[str]]:
    """``count`` captions chosen by a hash of their clips' ids, and the ids of all clips that have one of them.

    The choice depends on nothing but the ids, so every training on these clips holds out the same, where one holds out
    fewer than another the first of them.

    Args:
        index: with the columns ``clip_id`` and ``caption``.
        parameter: name of the one that asks for ``count``.

    Raises:
        UserError: no clip would be left to train on.
    """
    rows = sorted(
        zip(index["clip_id"], index["caption"], strict=True), key=lambda row: hashlib.sha256(row[0].encode()).digest()
    )
    captions = list(dict.fromkeys(caption for _, caption in rows))
    if count and len(captions) <= count:
        raise UserError(
            f"{parameter}: {count} captions are to be held out of training, but the clips have only {len(captions)}",
            f"lower {parameter} in params.yaml, or let the filters leave more clips",
        )
    chosen = frozenset(captions[:count])
    return captions[:count], frozenset(clip for clip, caption in rows if caption in chosen)
