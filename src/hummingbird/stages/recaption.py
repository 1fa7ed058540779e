"""Stage ``recaption``: rewrite the captions of the clips that the filters kept."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from transformers import CLIPTokenizer

from hummingbird.data.clips import read_table, write_table
from hummingbird.layout import Layout
from hummingbird.models.recaptioner import Recaptioner, Rewrite
from hummingbird.params import Params, Recaption
from hummingbird.pipelines.loading import require
from hummingbird.runlog import RunLog


def rewrite_captions(
    recaptioner: Recaptioner, tokenizer: CLIPTokenizer, captions: list[str], settings: Recaption, log: RunLog
) -> list[Rewrite]:
    """Rewrite captions, in batches of similar length. ``tokenizer`` is the text encoder's: it sets the limit."""
    order = sorted(range(len(captions)), key=lambda index: len(captions[index]))
    batches = [order[n : n + settings.batch_size] for n in range(0, len(order), settings.batch_size)]
    results = recaptioner.rewrite(
        ([captions[index] for index in batch] for batch in batches),
        count_tokens=lambda text: len(tokenizer(text).input_ids),
        token_limit=tokenizer.model_max_length,
        max_new_tokens=settings.max_new_tokens,
    )
    found: dict[int, Rewrite] = {}
    for batch, rewrites in zip(batches, log.progress(results, "captions", total=len(batches)), strict=True):
        found |= zip(batch, rewrites, strict=True)
    return [found[index] for index in range(len(captions))]


def recaptioned(table: pl.DataFrame, rewrites: list[Rewrite]) -> pl.DataFrame:
    """The clip table with ``raw_caption`` (as crawled), ``caption`` (new) and ``recaption_reason`` (why the raw one
    was kept; empty where it was rewritten, null for clips that were dropped before). One rewrite per kept clip."""
    kept = table.filter(pl.col("kept")).select(
        "clip_id",
        pl.Series("new_caption", [rewrite.caption for rewrite in rewrites], dtype=pl.String),
        pl.Series("recaption_reason", [rewrite.reason for rewrite in rewrites], dtype=pl.String),
    )
    joined = table.join(kept, on="clip_id", how="left", maintain_order="left")
    return joined.with_columns(
        pl.col("caption").alias("raw_caption"), pl.coalesce("new_caption", "caption").alias("caption")
    ).drop("new_caption")


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write the clip table with new captions; see :func:`recaptioned`.

    Raises:
        UserError: the clip table, the language model or the text encoder's tokenizer is missing.
    """
    settings = params.recaption
    table = read_table(layout.clip_table("motion_filter"))
    recaptioner = Recaptioner.from_pretrained(Path(settings.model or layout.foundation / "recaptioner"))
    tokenizer = CLIPTokenizer.from_pretrained(require(layout.foundation / "tokenizer", "foundation"))
    raw = table.filter(pl.col("kept"))["caption"].to_list()
    rewrites = rewrite_captions(recaptioner, tokenizer, raw, settings, log)
    write_table(recaptioned(table, rewrites), layout.clip_table("recaption"))
    changed = sum(rewrite.caption != old for rewrite, old in zip(rewrites, raw, strict=True))
    failed = sum(bool(rewrite.reason) for rewrite in rewrites)
    count = max(1, len(raw))
    return {"clips": len(raw), "changed_share": changed / count, "failed_share": failed / count}
