"""Stage ``recaption``: rewrite the captions of the clips that the filters kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from transformers import CLIPTokenizer

from hummingbird.data.clips import read_table, write_table
from hummingbird.data.recaption.cache import AnswerCache, Backend
from hummingbird.data.recaption.checks import Checks
from hummingbird.data.recaption.rewriting import Rewrite, rewrite
from hummingbird.data.recaption.words import open_synonyms
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.params import Params, Recaption
from hummingbird.pipelines.loading import require
from hummingbird.runlog import RunLog


def open_backend(settings: Recaption, foundation: Path) -> Backend:
    """The language model that ``settings`` name.

    Raises:
        UserError: it cannot be used.
    """
    if settings.backend == "transformers":
        from hummingbird.data.recaption.transformers_backend import TransformersBackend

        folder = Path(settings.model or foundation / "recaptioner")
        return TransformersBackend(folder, batch_size=settings.batch_size, max_new_tokens=settings.max_new_tokens)
    from hummingbird.data.recaption.openai_backend import Endpoint, OpenAIBackend

    if not settings.endpoint or not settings.model:
        raise UserError(
            "recaption.backend openai needs recaption.endpoint and recaption.model",
            "set both in params.yaml, e.g. http://127.0.0.1:8000/v1 and the name under which it serves the model",
        )
    return OpenAIBackend(
        Endpoint(
            address=settings.endpoint,
            model=settings.model,
            max_new_tokens=settings.max_new_tokens,
            concurrency=settings.concurrency,
            timeout_s=settings.timeout_s,
            tries=settings.tries,
        )
    )


def rewrite_captions(
    backend: Backend,
    tokenizer: CLIPTokenizer,
    captions: Sequence[str],
    settings: Recaption,
    cache: AnswerCache,
    log: RunLog,
) -> list[Rewrite]:
    """Rewrite captions, in their order. ``tokenizer`` is the text encoder's: it sets the limit."""
    checks = Checks(
        count_tokens=lambda text: len(tokenizer(text).input_ids),
        token_limit=tokenizer.model_max_length,
        min_kept_words=settings.min_kept_words,
        synonyms=open_synonyms(settings.synonyms),
    )
    results = rewrite(captions, backend, checks, cache)
    found: dict[int, Rewrite] = {}
    for number, result in log.progress(results, "captions", total=len(captions)):
        log.verdict(result.reason)
        found[number] = result
    return [found[number] for number in range(len(captions))]


def recaptioned(table: pl.DataFrame, rewrites: Sequence[Rewrite]) -> pl.DataFrame:
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
    """Write the clip table with new captions; see :func:`recaptioned`. A killed run goes on with the captions that the
    language model has not answered yet.

    Raises:
        UserError: the clip table, the language model or the text encoder's tokenizer is missing or cannot be used, or
            the disk cannot be written to.
    """
    settings = params.recaption
    table = read_table(layout.clip_table("motion_filter"))
    backend = open_backend(settings, layout.foundation)
    tokenizer = CLIPTokenizer.from_pretrained(require(layout.foundation / "tokenizer", "foundation"))
    raw = [caption or "" for caption in table.filter(pl.col("kept"))["caption"]]
    with AnswerCache(layout.work("recaption", "answers.sqlite")) as cache:
        rewrites = rewrite_captions(backend, tokenizer, raw, settings, cache, log)
    write_table(recaptioned(table, rewrites), layout.clip_table("recaption"))
    changed = sum(rewrite.caption != old for rewrite, old in zip(rewrites, raw, strict=True))
    reasons = Counter(rewrite.reason.split(":")[0] for rewrite in rewrites if rewrite.reason)
    count = max(1, len(raw))
    return {
        "clips": len(raw),
        "changed_share": changed / count,
        "failed_share": reasons.total() / count,
        **{f"failed_{reason}": float(number) for reason, number in sorted(reasons.items())},
    }
