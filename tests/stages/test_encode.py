from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import CLIPTextModel

from hummingbird.data import encoding
from hummingbird.data.clips import read_table, write_table
from hummingbird.data.latents import LatentDataset
from hummingbird.data.shards import iter_videos
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.models.text import build_world_tokenizer, encode_prompts, miniature_text_config
from hummingbird.models.vae import encode_frames, miniature_vae, pixels_from_video
from hummingbird.params import Curation, Download, Encode, Needs, Params
from hummingbird.runlog import SilentLog
from hummingbird.stages import download, encode

PARAMS = Params(
    download=Download(clips=7, clips_per_shard=4),
    encode=Encode(clips_per_shard=3, batch_frames=5),
)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with untrained models and a clip table in which two of seven clips are dropped."""
    root = tmp_path_factory.mktemp("project")
    layout = Layout(root)
    torch.manual_seed(0)
    tokenizer = build_world_tokenizer()
    miniature_vae().save_pretrained(layout.foundation / "vae")
    tokenizer.save_pretrained(layout.foundation / "tokenizer")
    CLIPTextModel(miniature_text_config(tokenizer)).save_pretrained(layout.foundation / "text_encoder")
    download.run(PARAMS, layout, SilentLog())
    table = read_table(layout.clip_table("download"))
    kept = pl.Series([True, False, True, True, True, False, True])
    write_table(table.with_columns(kept=kept, reason=pl.when(kept).then(pl.lit("")).otherwise(pl.lit("blur"))),
                layout.clip_table("recaption"))  # fmt: skip
    encode.run(PARAMS, layout, SilentLog())
    return root


@pytest.fixture
def layout(ready: Path, tmp_path: Path) -> Layout:
    """A fresh project that shares the models and the clips, but has no latents and no cache."""
    for name in ("artifacts", "data/raw", "data/recaption"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(ready / name)
    return Layout(tmp_path)


def test_latents_and_texts_are_those_of_the_kept_clips(ready: Path) -> None:
    layout = Layout(ready)
    data = LatentDataset(layout.latents)
    table = read_table(layout.clip_table("recaption")).filter(pl.col("kept"))
    assert data.index["clip_id"].to_list() == table["clip_id"].to_list()
    assert data.captions == table["caption"].to_list()
    assert data.index["shard"].to_list() == ["00000.safetensors"] * 3 + ["00001.safetensors"] * 2
    tokenizer = build_world_tokenizer()
    text_encoder = CLIPTextModel.from_pretrained(layout.foundation / "text_encoder").eval()
    vae = miniature_vae().from_pretrained(layout.foundation / "vae").eval()
    batch = data.batch(0, 5, 8)
    videos = {row["caption"]: video for row, video in iter_videos(layout.raw / "shards", table)}
    with torch.no_grad():
        texts = encode_prompts(text_encoder, tokenizer, batch["captions"])
        for latents, caption in zip(batch["latents"], batch["captions"], strict=True):
            expected = encode_frames(vae, pixels_from_video(torch.from_numpy(videos[caption])))
            torch.testing.assert_close(latents.transpose(0, 1), expected, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(batch["text"], texts, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(
            data.empty_text, encode_prompts(text_encoder, tokenizer, [""])[0], atol=2e-3, rtol=2e-3
        )


def test_a_killed_run_goes_on_after_its_last_shard(
    ready: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = encoding.encode_video
    calls: list[int] = []

    def dying(*args: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(encoding, "encode_video", dying)
    with pytest.raises(KeyboardInterrupt):
        encode.run(PARAMS, layout, SilentLog())
    assert not layout.latents.exists()
    figures = encode.run(PARAMS, layout, SilentLog())
    assert len(calls) == 5 + 2  # the three clips of the first shard are not encoded again
    assert figures["clips"] == 5
    for file in Layout(ready).latents.iterdir():
        assert file.read_bytes() == (layout.latents / file.name).read_bytes()


def same(first: Layout, second: Layout) -> bool:
    names = {file.name for file in first.latents.iterdir()}
    return names == {file.name for file in second.latents.iterdir()} and all(
        (first.latents / name).read_bytes() == (second.latents / name).read_bytes() for name in names
    )


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many videos and texts went through a network."""
    counts: Counter[str] = Counter()
    video, text = encoding.encode_video, encoding.encode_prompts

    def counting_video(*args: Any) -> torch.Tensor:
        counts["videos"] += 1
        return video(*args)

    def counting_text(encoder: Any, tokenizer: Any, captions: list[str]) -> torch.Tensor:
        counts["texts"] += len(captions)
        return text(encoder, tokenizer, captions)

    monkeypatch.setattr(encoding, "encode_video", counting_video)
    monkeypatch.setattr(encoding, "encode_prompts", counting_text)
    return counts


def change(layout: Layout, table: pl.DataFrame) -> None:
    """Give a project a clip table of its own."""
    folder = layout.clip_table("recaption").parent
    if folder.is_symlink():
        folder.unlink()
    write_table(table, layout.clip_table("recaption"))


def test_what_has_not_changed_is_not_encoded_again(ready: Path, layout: Layout, encoded: Counter[str]) -> None:
    whole = read_table(layout.clip_table("recaption"))
    everything = whole.with_columns(kept=pl.lit(True), reason=pl.lit(""))
    change(layout, everything.head(4))
    encode.run(PARAMS, layout, SilentLog())
    assert encoded == {"videos": 4, "texts": 4 + 1}
    change(layout, everything)  # the source has grown, over the edge of a shard
    encode.run(PARAMS, layout, SilentLog())
    assert encoded == {"videos": 7, "texts": 7 + 1}
    change(layout, whole)  # a bar has been raised: the clips lie elsewhere in the shards
    encode.run(PARAMS, layout, SilentLog())
    assert encoded == {"videos": 7, "texts": 7 + 1}
    assert same(layout, Layout(ready))
    change(layout, whole.with_columns(caption=pl.lit("a red ring")))
    encode.run(PARAMS, layout, SilentLog())
    assert encoded["videos"] == 7
    assert 1 <= encoded["texts"] - 8 <= 2  # once for each shard at most
    assert LatentDataset(layout.latents).captions == ["a red ring"] * 5


def test_another_vae_size_or_text_encoder_makes_everything_anew(layout: Layout, encoded: Counter[str]) -> None:
    encode.run(PARAMS, layout, SilentLog())
    encode.run(
        PARAMS.model_copy(update={"encode": PARAMS.encode.model_copy(update={"max_frames": 4})}), layout, SilentLog()
    )
    assert encoded == {"videos": 10, "texts": 6}
    shutil.copytree(layout.foundation, layout.root / "copy")
    (layout.root / "artifacts").unlink()
    (layout.root / "artifacts").mkdir()
    (layout.root / "copy").rename(layout.foundation)
    for folder, count in (("text_encoder", {"videos": 10, "texts": 12}), ("vae", {"videos": 15, "texts": 12})):
        config = layout.foundation / folder / "config.json"
        config.write_text(config.read_text() + " ")
        encode.run(PARAMS, layout, SilentLog())
        assert encoded == count


def bounded(gigabytes: float) -> Params:
    return PARAMS.model_copy(update={"curation": Curation(latents_cache_gb=gigabytes)})


def test_the_cache_is_bounded_and_the_oldest_goes_first(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "link_or_copy", shutil.copyfile)  # a file system without links
    cache = layout.work("encode", "latents")
    encode.run(PARAMS, layout, SilentLog())
    first = {file.name for file in cache.glob("*.safetensors")}
    (cache / "left-by-a-kill.safetensors").write_bytes(b"x" * 1000)
    table = read_table(layout.clip_table("recaption"))
    change(layout, table.tail(3).with_columns(kept=pl.lit(True), reason=pl.lit("")))
    one_shard = max(file.stat().st_size for file in cache.glob("*.safetensors")) / 1e9
    encode.run(bounded(1.1 * one_shard), layout, SilentLog())
    left = {file.name for file in cache.glob("*.safetensors")}
    assert len(left) == 1
    assert not left & first
    encode.run(bounded(0.0), layout, SilentLog())
    assert not list(cache.glob("*.safetensors"))
    assert len(LatentDataset(layout.latents)) == 3


def test_shards_that_share_their_file_with_the_published_ones_stay(layout: Layout, encoded: Counter[str]) -> None:
    cache = layout.work("encode", "latents")
    encode.run(bounded(0.0), layout, SilentLog())
    used = {file.name for file in cache.glob("*.safetensors")}
    assert len(used) == 2
    encode.run(bounded(0.0), layout, SilentLog())
    assert encoded["videos"] == 5  # none of them again
    table = read_table(layout.clip_table("recaption"))
    change(layout, table.tail(3).with_columns(kept=pl.lit(True), reason=pl.lit("")))
    encode.run(bounded(0.0), layout, SilentLog())
    left = {file.name for file in cache.glob("*.safetensors")}
    assert len(left) == 1
    assert not left & used


@pytest.mark.slow
def test_worker_processes_give_the_same_bytes(ready: Path, layout: Layout) -> None:
    curation = Curation(workers=2, encode=Needs(cpus=0.5, memory_gb=0.5))
    encode.run(PARAMS.model_copy(update={"curation": curation}), layout, SilentLog())
    assert same(layout, Layout(ready))


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes(ready: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'hummingbird[ray]'")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        curation = Curation(engine="ray", address=cluster.address, encode=Needs(cpus=1.0, memory_gb=0.5))
        encode.run(PARAMS.model_copy(update={"curation": curation}), layout, SilentLog())
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert same(layout, Layout(ready))


def test_a_damaged_cache_is_explained(layout: Layout) -> None:
    encode.run(PARAMS, layout, SilentLog())
    for file in layout.work("encode", "latents").glob("*.safetensors"):
        file.unlink()
        file.write_bytes(b"damaged")
    table = read_table(layout.clip_table("recaption"))
    change(layout, table.filter(pl.col("kept")).tail(4))
    with pytest.raises(UserError, match=r"rm -r .*latents"):
        encode.run(PARAMS, layout, SilentLog())


def test_a_shard_that_was_damaged_since_is_made_again(ready: Path, layout: Layout, encoded: Counter[str]) -> None:
    """The published file and the cache's are one file: what damages one damages both."""
    encode.run(PARAMS, layout, SilentLog())
    assert encoded["videos"] == 5
    shard = layout.latents / "00001.safetensors"
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size // 2)
    shutil.rmtree(layout.latents)
    encode.run(PARAMS, layout, SilentLog())
    assert 5 < encoded["videos"] < 10
    assert same(layout, Layout(ready))


def test_frames_are_scaled_and_cropped_to_the_size_asked_for(layout: Layout) -> None:
    encode.run(Params(encode=Encode(height=16, width=24, max_frames=5)), layout, SilentLog())
    batch = LatentDataset(layout.latents).batch(0, 2, 5)
    assert batch["latents"].shape == (2, 16, 5, 2, 3)


def test_bad_input_is_explained(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be multiples of 8"):
        encode.run(Params(encode=Encode(height=30)), layout, SilentLog())
    shard = read_table(layout.clip_table("recaption"))["shard"][0]
    cut = tmp_path / "cut"
    (cut / "shards").mkdir(parents=True)
    whole = layout.raw / "shards" / shard
    (cut / "shards" / shard).write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "data/raw").unlink()
    (tmp_path / "data/raw").symlink_to(cut)
    with pytest.raises(UserError, match="truncated or damaged"):
        encode.run(PARAMS, layout, SilentLog())
    table = read_table(layout.clip_table("recaption"))
    change(layout, table.with_columns(kept=pl.lit(False), reason=pl.lit("blur")))
    with pytest.raises(UserError, match="left no clip to encode"):
        encode.run(PARAMS, layout, SilentLog())


def test_a_clip_that_is_not_the_one_of_the_table_is_refused(layout: Layout) -> None:
    table = read_table(layout.clip_table("recaption"))
    change(layout, table.with_columns(sha256=pl.col("sha256").first()))
    with pytest.raises(UserError, match="another sha256 than the clip table says"):
        encode.run(PARAMS.model_copy(update={"encode": Encode(batch_frames=4, clips_per_shard=1)}), layout, SilentLog())


def test_a_missing_model_names_the_stage_that_makes_it(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "artifacts").unlink()
    with pytest.raises(UserError, match="dvc repro foundation"):
        encode.run(PARAMS, layout, SilentLog())
