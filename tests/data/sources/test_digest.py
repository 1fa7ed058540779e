from __future__ import annotations

from pathlib import Path

from hummingbird.data.sources import WorldSource, open_source
from hummingbird.data.sources.digest import digest_of
from hummingbird.params import Download

ROWS = ("1,http://host/a.mp4,,p,a", "2,http://host/b.mp4,,p,b")


def digests(folder: Path, *rows: str) -> list[str]:
    (folder / "clips.csv").write_text("\n".join(("videoid,contentUrl,duration,page_dir,name", *rows)))
    source = open_source(Download(source=str(folder)))
    return [digest_of(source, number, number + 1) for number in range(len(source))]


def test_it_follows_the_rows_and_the_files_of_its_own_range(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    before = digests(tmp_path, *ROWS)
    assert digests(tmp_path, *ROWS) == before
    assert digests(tmp_path, *ROWS, "3,u/c.mp4,,p,c")[:2] == before
    assert digests(tmp_path, ROWS[0], "2,http://host/b.mp4,,p,another caption")[0] == before[0]
    assert digests(tmp_path, ROWS[0], "2,http://host/b.mp4,,p,another caption")[1] != before[1]
    (tmp_path / "a.mp4").write_bytes(b"longer")
    (tmp_path / "b.mp4").write_bytes(b"new")
    assert not set(digests(tmp_path, *ROWS)) & set(before)


def test_generated_clips_have_one_too() -> None:
    source = WorldSource(Download())
    assert digest_of(source, 0, 8) == digest_of(source, 0, 8)
    assert digest_of(source, 0, 8) != digest_of(source, 8, 16)
