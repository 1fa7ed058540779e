"""Stage ``encode``: latents of every frame and an embedding of every caption, once, for all later training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path

import polars as pl
from safetensors.torch import save_file

from hummingbird import engine
from hummingbird.data.clips import read_table, write_table
from hummingbird.data.encoding import Models, ShardTask, encode_shard, encode_text, shard_key, with_keys, with_places
from hummingbird.data.latent_shards import EMPTY_PROMPT, INDEX_SCHEMA, is_whole
from hummingbird.errors import UserError
from hummingbird.files import explain_disk_errors, link_or_copy, replacing, replacing_folder
from hummingbird.layout import Layout
from hummingbird.params import Params
from hummingbird.pipelines.loading import require
from hummingbird.runlog import RunLog
from hummingbird.training.records import fingerprint


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Write ``data/latents``: shards, index and the embedding of the empty prompt.

    What an earlier run has encoded, or this one before it was killed, is taken from the cache of latents.

    Raises:
        UserError: a table, shard or model is missing, no clip is left, the size does not suit the VAE, the engine
            cannot be used, or the disk cannot be written to.
    """
    table = read_table(layout.clip_table("recaption")).filter(pl.col("kept"))
    if table.is_empty():
        raise UserError("the filters left no clip to encode", "loosen vqa_filter or motion_filter in params.yaml")
    layout = layout.absolute()  # tasks may run in another folder
    models = _models(layout.foundation)
    cache = layout.work("encode", "latents")
    with explain_disk_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    rows = with_keys(table, models, params.encode)
    parts = list(rows.iter_slices(params.encode.clips_per_shard))
    shards = [cache / f"{shard_key(part)}.safetensors" for part in parts]
    missing = [number for number, shard in enumerate(shards) if not _is_there(shard)]
    tasks = []
    if missing:
        placed = with_places(rows, cache)
        size = params.encode.clips_per_shard
        tasks = [
            ShardTask(placed[number * size : (number + 1) * size], layout.raw / "shards", shards[number], models,
                      params.encode)
            for number in missing
        ]  # fmt: skip
    results = engine.run(encode_shard, tasks, params.curation, params.curation.encode)
    with closing(_by_clip(parts, set(missing), results)) as clips:
        for _ in log.progress(clips, "encoding", len(table)):
            pass
    index = _publish(shards, _empty_prompt(cache, models), layout.latents)
    _prune(cache, set(shards), params.curation.latents_cache_gb)
    return _figures(index, layout.latents)


def _is_there(shard: Path) -> bool:
    """Whether the cache holds a shard. One that was damaged since is forgotten: published, it would share its damage,
    and be made of itself."""
    index = shard.with_suffix(".parquet")
    if index.is_file() and not is_whole(shard, pl.read_parquet(index)):
        index.unlink()
    return index.is_file()


def _by_clip(parts: list[pl.DataFrame], missing: set[int], results: Iterable[object]) -> Generator[None, None, None]:
    """Once for each clip: for those of shards that are there at once, for the others as their shards are finished."""
    yield from [None] * sum(len(part) for number, part in enumerate(parts) if number not in missing)
    for number, _ in zip(sorted(missing), results, strict=True):
        yield from [None] * len(parts[number])


def _models(foundation: Path) -> Models:
    vae, tokenizer, text = (require(foundation / name, "foundation") for name in ("vae", "tokenizer", "text_encoder"))
    hashes = ["".join(fingerprint(*folders).values()) for folders in ((vae,), (tokenizer, text))]
    return Models(vae, tokenizer, text, *hashes)


def _empty_prompt(cache: Path, models: Models) -> Path:
    """The file with the embedding of the empty prompt, made where it is not there."""
    path = cache / f"{hashlib.sha256(models.text_hash.encode()).hexdigest()}.empty"
    if not path.is_file():
        with replacing(path) as part:
            save_file({"text": encode_text(models, [""])}, part)
    return path


def _publish(shards: list[Path], empty_prompt: Path, target: Path) -> pl.DataFrame:
    """Gather the shards, numbered, in ``target``; returns the whole index."""
    names = [f"{number:05d}.safetensors" for number in range(len(shards))]
    index = pl.concat(
        pl.read_parquet(shard.with_suffix(".parquet")).with_columns(shard=pl.lit(name)).select(*INDEX_SCHEMA)
        for shard, name in zip(shards, names, strict=True)
    )
    with replacing_folder(target) as folder:
        for source, name in zip([*shards, empty_prompt], [*names, EMPTY_PROMPT], strict=True):
            link_or_copy(source, folder / name)
        write_table(index, folder / "index.parquet")
    return index


def _prune(cache: Path, used: set[Path], most_gb: float) -> None:
    """Delete shards until the cache holds ``most_gb`` at most: those that this run did not use first, and among them
    the ones that have not been used for the longest time. Used ones that share their file with the published shard take
    no space of their own: they stay and do not count."""
    for path in used:
        os.utime(path.with_suffix(".parquet"))
    shards = {path for path in cache.glob("*.safetensors") if path not in used or path.stat().st_nlink == 1}
    indices = {path.with_suffix(".parquet") for path in shards}
    age = {path: path.stat().st_mtime if path.is_file() else 0.0 for path in indices}
    left = sum(path.with_suffix(".safetensors").stat().st_size for path in age)
    for path in sorted(age, key=lambda path: (path.with_suffix(".safetensors") in used, age[path])):
        if left <= most_gb * 1e9 and path.is_file():
            continue
        left -= path.with_suffix(".safetensors").stat().st_size
        path.unlink(missing_ok=True)  # first: without it the shard is not there
        path.with_suffix(".safetensors").unlink()


def _figures(index: pl.DataFrame, folder: Path) -> dict[str, float]:
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {"clips": len(index), "frames": float(index["num_frames"].sum()), "bytes": float(size)}
