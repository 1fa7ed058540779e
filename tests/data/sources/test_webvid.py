from __future__ import annotations

from pathlib import Path
from typing import Any

from hummingbird.data.sources import Item, Source

HEADER = "videoid,contentUrl,duration,page_dir,name\n"


def all_of(source: Source) -> list[Item]:
    return list(source.items(0, len(source)))


def test_files_are_found_by_url_and_by_page(tmp_path: Path, opened: Any) -> None:
    names = ("a clip.mp4", "p1/2.mp4", "videos/p2/3.mp4")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"video")
    rows = "1,http://host/some/a%20clip.mp4?q=1,PT1S,p0,one\n2,http://host/x.mp4,,p1,two\n3,http://[,,p2,three\n"
    source = opened(HEADER + rows)
    assert [item.uri for item in all_of(source)] == [str(tmp_path / name) for name in names]
    assert [item.caption for item in all_of(source)] == ["one", "two", "three"]
    assert source.root == tmp_path


def test_a_file_that_is_not_there_is_missing(opened: Any) -> None:
    [item] = all_of(opened(HEADER + "1,http://host/none.mp4,,p,text\n"))
    assert (item.uri, item.problem) == ("", "missing: no such file")


def test_a_csv_cannot_reach_outside_its_folder(tmp_path: Path, opened: Any) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (inside / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (tmp_path / "clips.csv").write_text(HEADER + f"secret,,,..,a\nlink,,,.,b\nsecret,,,{tmp_path},c\n\0,,,\0,d\n")
    for csv in (tmp_path / "clips.csv",):
        problems = [item.problem for item in all_of(opened(source=inside, csv=str(csv)))]
    assert problems == ["missing: no such file"] * 4


def test_a_csv_by_itself_gives_addresses(tmp_path: Path, opened: Any) -> None:
    (tmp_path / "near.mp4").write_bytes(b"video")
    rows = (
        "1,https://host/a%20b.mp4?q=1,,p,a\n2,near.mp4,,p,b\n3,s3://bucket/c.mp4,,p,c\n4,,,p,d\n5,../up.mp4,,p,e\n"
        "6,/etc/hostname,,p,f\n7,file:///etc/hostname,,p,g\n8,http://[::1,,p,h\n"
    )
    source = opened(HEADER + rows, source=tmp_path / "clips.csv")
    items = all_of(source)
    assert [item.uri for item in items][:4] == [
        "https://host/a%20b.mp4?q=1", str(tmp_path / "near.mp4"), "s3://bucket/c.mp4", "",
    ]  # fmt: skip
    assert [item.problem.partition(":")[0] for item in items[3:]] == [
        "no_address", "missing", "missing", "missing", "bad_address",
    ]  # fmt: skip
    assert items[0].source == "clips"


def test_repeated_and_unsafe_ids_become_unique_and_are_remembered(opened: Any) -> None:
    ids = ["7", "7", "", "../../etc/passwd", "7--2", "日本", "7"]
    items = all_of(opened(HEADER + "".join(f"{name},u,,p,a\n" for name in ids)))
    assert [item.source_id for item in items] == ["7", "7", "row2", "../../etc/passwd", "7--2", "日本", "7"]
    assert [item.clip_id for item in items[:3]] == ["7", "7--2", "row2"]
    assert items[-1].clip_id == "7--3"
    assert len({item.clip_id for item in items}) == len(ids)


def test_only_the_first_rows_are_taken(opened: Any) -> None:
    source = opened(HEADER + "".join(f"{n},u/{n}.mp4,,p,a\n" for n in range(1000)), clips=700)
    assert len(source) == 700
    assert [item.clip_id for item in source.items(250, 520)] == [str(n) for n in range(250, 520)]
    assert list(source.items(5, 5)) == []


def test_the_fingerprint_follows_the_files(tmp_path: Path, opened: Any) -> None:
    source = opened(HEADER + "1,u/a.mp4,,p,a\n")
    before = source.fingerprint()
    assert before == source.fingerprint() == opened().fingerprint()
    (tmp_path / "a.mp4").write_bytes(b"video")
    assert source.fingerprint() != before
    assert opened(HEADER + "1,u/a.mp4,,p,b\n").fingerprint() != opened(HEADER + "1,u/a.mp4,,p,a\n").fingerprint()
