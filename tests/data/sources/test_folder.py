from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hummingbird.data.sources import Item
from hummingbird.errors import UserError


def items(source: Any) -> list[Item]:
    return list(source.items(0, len(source)))


def test_captions_lie_beside_the_videos(tmp_path: Path, opened: Any) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.mp4", "b.MOV", "c.mkv", "d.webm", "e.mp4", "sub/a.mp4", "a.mkv", "notes.md"):
        (tmp_path / name).write_bytes(b"video")
    (tmp_path / "a.txt").write_text("\ufeffa cat\n", encoding="utf-8")
    (tmp_path / "b.json").write_text('{"text": " a dog "}')
    (tmp_path / "c.json").write_text('"a bird"')
    (tmp_path / "d.json").write_text("{broken")
    (tmp_path / "e.json").write_text('{"caption": ["a list"]}')
    found = items(opened())
    assert [item.source_id for item in found] == ["a", "a", "b", "c", "d", "e", "sub/a"]
    assert [item.caption for item in found] == ["a cat", "a cat", "a dog", "a bird", "", "", ""]
    assert [item.clip_id for item in found[:3]] == ["a", "a--2", "b"]
    assert found[-1].clip_id.startswith("sub-a--x")
    assert {item.source for item in found} == {tmp_path.name}


def test_a_caption_is_read_up_to_a_bound(tmp_path: Path, opened: Any) -> None:
    (tmp_path / "a.mp4").write_bytes(b"video")
    (tmp_path / "a.txt").write_bytes(b"x" * (1 << 20))
    assert len(items(opened())[0].caption) == 1 << 16


@pytest.mark.parametrize("header", ["path,text", "file_name,caption", "caption,extra,file"])
def test_a_csv_may_caption_a_folder(tmp_path: Path, opened: Any, header: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.mp4").write_bytes(b"video")
    values = {"path": "sub/a.mp4", "file": "sub/a.mp4", "file_name": "sub/a.mp4", "extra": "1"}
    row = ",".join(values.get(name, "a cat") for name in header.split(","))
    [item] = items(opened(f"{header}\n{row}\n"))
    assert (item.uri, item.caption, item.source_id) == (str(tmp_path / "sub/a.mp4"), "a cat", "sub/a")


def test_a_folder_without_videos_is_explained(tmp_path: Path, opened: Any) -> None:
    with pytest.raises(UserError, match="has no videos"):
        opened()


def test_a_csv_of_no_known_kind_is_explained(opened: Any) -> None:
    with pytest.raises(UserError, match="lacks columns: path, text; it has one, two"):
        opened("one,two\n1,2\n")
