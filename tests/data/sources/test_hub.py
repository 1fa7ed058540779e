from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hummingbird.data.sources import open_source
from hummingbird.errors import UserError
from hummingbird.params import Download


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the package `datasets`\n  next: .*pip install datasets"):
        open_source(Download(source="hf://owner/name"))


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(UserError, match="write it as hf://owner/name"):
        open_source(Download(source="hf://#train"))


def dataset(folder: Path, *rows: dict[str, Any]) -> str:
    pytest.importorskip("datasets")
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"hf://{folder}"


def test_rows_of_a_local_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/near.mp4").write_bytes(b"video")
    addresses = ("https://host/a.mp4", "near.mp4", "/etc/hostname", None)
    uri = dataset(tmp_path / "set", *({"id": "a/b", "n": 1, "url": text, "text": " a cat "} for text in addresses))
    source: Any = open_source(Download(source=uri, clips=4))
    items = list(source.items(0, len(source)))
    assert [item.uri for item in items] == ["https://host/a.mp4", str(tmp_path / "set/near.mp4"), "", ""]
    assert [item.problem for item in items[2:]] == ["missing: no such file", "no_address"]
    assert {item.caption for item in items} == {"a cat"}
    assert len({item.clip_id for item in items}) == 4
    assert list(source.items(1, 3)) == items[1:3]
    assert source.fingerprint() == open_source(Download(source=uri, clips=4)).fingerprint()


def test_a_dataset_without_addresses_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    uri = dataset(tmp_path / "set", {"text": "a cat", "n": 1})
    with pytest.raises(UserError, match=r"lacks text columns: uri \(contentUrl or .*it has text"):
        open_source(Download(source=uri))
    with pytest.raises(UserError, match="cannot be loaded"):
        open_source(Download(source=f"{uri}#nosuchsplit"))
