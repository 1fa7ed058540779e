from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hummingbird.data.sources import open_source
from hummingbird.errors import UserError
from hummingbird.params import Download

#: The example of docs/curation.md.
USERS = '''
import json
from pathlib import Path

from hummingbird.data.sources.listing import Listing


class JsonLines(Listing):
    """A file with one JSON object a line: {"id": ..., "url": ..., "text": ...}"""

    def __init__(self, params):
        self.lines = Path(params.source).read_text().splitlines()
        self.rows = {row["id"]: row for row in map(json.loads, self.lines[: params.clips])}
        super().__init__("my crawl", list(self.rows))

    def place_of(self, name):
        return self.rows[name]["url"], ""

    def caption_of(self, name):
        return self.rows[name]["text"]

    def fingerprint(self):
        return "\\n".join(self.lines)
'''


def problem(**params: Any) -> str:
    with pytest.raises(UserError) as caught:
        open_source(Download(**params))
    return str(caught.value)


def test_sources_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    assert "no folder" in problem(source=str(tmp_path / "none"))
    assert "no CSV file" in problem(source=str(tmp_path), csv=str(tmp_path / "none.csv"))
    assert "no CSV file" in problem(source=str(tmp_path / "none.csv"))
    csv = tmp_path / "clips.csv"
    csv.write_text("videoid,url\n1,2\n")
    assert "lacks columns: contentUrl, page_dir, name; it has videoid, url" in problem(source=str(tmp_path))
    csv.write_text("videoid,contentUrl,duration,page_dir,name\n")
    assert "has no rows" in problem(source=str(tmp_path))


def test_a_misspelt_format_gets_the_nearest_one() -> None:
    assert "no format 'webvidd'; did you mean 'webvid'?" in problem(format="webvidd")


def test_a_named_format_beats_what_the_source_looks_like(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("videoid,video,caption\n1,a.mp4,b\n")
    source = open_source(Download(source=str(tmp_path), format="openvid"))
    assert type(source).__name__ == "OpenVidSource"


def test_a_user_brings_a_source_in_twenty_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    (tmp_path / "my_crawl.py").write_text(USERS)
    (tmp_path / "crawl.jsonl").write_text('{"id": "a/1", "url": "https://host/1.mp4", "text": "a cat"}\n' * 1)
    source: Any = open_source(Download(source="crawl.jsonl", format="my_crawl:JsonLines"))
    [item] = source.items(0, len(source))
    assert (item.uri, item.caption, item.source_id) == ("https://host/1.mp4", "a cat", "a/1")
    assert USERS.strip() in (project / "docs/curation.md").read_text()
    assert len(USERS.split('"""')[2].strip().splitlines()) < 20


def test_a_users_source_that_is_not_there_is_explained() -> None:
    assert "cannot import no_such_module:Thing" in problem(format="no_such_module:Thing")
    assert "cannot import json:Thing" in problem(format="json:Thing")
