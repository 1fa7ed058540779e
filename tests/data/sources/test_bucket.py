"""Videos in S3, against moto's server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hummingbird import storage
from hummingbird.data.fetching import fetch
from hummingbird.data.sources import Item, bucket
from hummingbird.data.sources.digest import digest_of
from hummingbird.errors import UserError
from hummingbird.params import Fetch

OBJECTS = {
    "crawl/a.mp4": b"video a", "crawl/a.txt": b"a cat\n",
    "crawl/b/1.mov": b"video b", "crawl/b/1.json": b'{"text": "a dog"}',
    "crawl/c.mp4": bytes(2_000_000), "crawl/notes.md": b"notes", "other/d.mp4": b"video d",
}  # fmt: skip


@pytest.fixture(autouse=True)
def client(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Bucket ``videos`` with OBJECTS."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": moto,
        "AWS_ACCESS_KEY_ID": "test-access-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    client = storage.client()
    client.create_bucket(Bucket="videos")
    for key, body in OBJECTS.items():
        client.put_object(Bucket="videos", Key=key, Body=body)
    return client


def test_videos_below_a_prefix_with_the_captions_beside_them(opened: Any, client: Any) -> None:
    source = opened(source="s3://videos/crawl/")
    items = list(source.items(0, len(source)))
    assert [item.uri for item in items] == [f"s3://videos/crawl/{name}" for name in ("a.mp4", "b/1.mov", "c.mp4")]
    assert [item.caption for item in items] == ["a cat", "a dog", ""]
    assert [item.source_id for item in items] == ["crawl/a", "crawl/b/1", "crawl/c"]
    assert len(opened(source="s3://videos", clips=3)) == 3
    before = source.fingerprint()
    assert opened(source="s3://videos/crawl/").fingerprint() == before
    client.put_object(Bucket="videos", Key="crawl/a.txt", Body=b"another cat")
    assert opened(source="s3://videos/crawl/").fingerprint() != before


def test_whether_a_range_has_changed_is_told_without_reading_a_caption(
    opened: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> str:
        raise AssertionError("a caption was read")

    monkeypatch.setattr(bucket, "caption_in", refuse)

    def digests() -> list[str]:
        source = opened(source="s3://videos/crawl/")
        return [digest_of(source, number, number + 1) for number in range(3)]

    before = digests()
    assert digests() == before
    client.put_object(Bucket="videos", Key="crawl/a.mp4", Body=b"another video")
    after_video = digests()
    assert [old == new for old, new in zip(before, after_video, strict=True)] == [False, True, True]
    client.put_object(Bucket="videos", Key="crawl/b/1.json", Body=b'{"text": "a wolf"}')
    assert [old == new for old, new in zip(after_video, digests(), strict=True)] == [True, False, True]
    places = list(opened(source="s3://videos/crawl/").places(0, 3))
    assert [item.uri for item in places] == [f"s3://videos/crawl/{name}" for name in ("a.mp4", "b/1.mov", "c.mp4")]
    monkeypatch.setattr(bucket, "caption_in", lambda *_: "a cat")
    items = list(opened(source="s3://videos/crawl/").items(0, 3))
    assert [item.clip_id for item in items] == [item.clip_id for item in places]


def test_a_caption_that_is_not_given_costs_its_own_row(opened: Any, client: Any) -> None:
    source = opened(source="s3://videos/crawl/")
    client.delete_object(Bucket="videos", Key="crawl/a.txt")  # since it was listed
    items = list(source.items(0, 3))
    assert [item.problem for item in items] == ["no_caption: NoSuchKey", "", ""]
    assert [item.caption for item in items] == ["", "a dog", ""]
    client.delete_object(Bucket="videos", Key="crawl/b/1.json")
    source._bucket = "nobucket"
    with pytest.raises(UserError, match="does not exist"):  # not a matter of one caption
        list(source.items(0, 3))


def test_they_are_fetched_within_the_bounds(opened: Any, tmp_path: Path) -> None:
    source = opened(source="s3://videos/crawl")
    none = [Item("d", "s3://videos/none.mp4", "", "test"), Item("e", "s3://nobucket/a.mp4", "", "test")]
    bad = [Item("f", "s3://videos", "", "test")]
    outcomes = list(fetch([*source.items(0, 3), *none, *bad], Fetch(max_mb=1.0, connections=4), tmp_path / "work"))
    assert [fetched.path.read_bytes() for fetched in outcomes[:2] if fetched.path] == [b"video a", b"video b"]
    problems = [fetched.problem.partition(":")[0] for fetched in outcomes[2:]]
    assert problems == ["too_large", "missing", "unavailable", "unavailable"]


def test_a_bucket_that_cannot_be_listed_is_explained(opened: Any) -> None:
    with pytest.raises(UserError, match="lies in a bucket that does not exist"):
        opened(source="s3://nobucket/crawl")
    with pytest.raises(UserError, match="has no videos"):
        opened(source="s3://videos/nothing")
