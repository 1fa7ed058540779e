"""The table of public checkpoints, and the mistakes one can make in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird.checkpoints.catalogue import Checkpoint, catalogue, choose, load_catalogue
from hummingbird.errors import UserError

GOOD = 'x: {what: a, licence: {name: MIT}, files: [{path: a.pt}], sources: ["https://host/"]}'


def test_the_table_is_valid_and_its_licences_are_not_taken_for_permissive() -> None:
    table = catalogue()
    assert {name for name, row in table.items() if row.licence.permissive} == {"taesd", "viclip-l"}
    assert not any(row.pinned for row in table.values())
    for name, row in table.items():
        assert row.what and row.licence.name, name


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("what", "waht", "waht"),
        ("a.pt", "../a.pt", "must be a path below the checkpoint's folder"),
        ("a.pt", "/a.pt", "must be a path below the checkpoint's folder"),
        ("https://host/", "ftp://host/", "must begin with one of hf://"),
        ("files: [{path: a.pt}]", "patterns: [a]", "patterns need a hub repository"),
        ("files: [{path: a.pt}]", "note: a", "give either files or patterns"),
        ("path: a.pt", "path: a.pt, sha256: abc", "sha256"),
        ("path: a.pt", "path: a.pt, bytes: 0", "bytes"),
        ("x: {", "x: [", "is no table of checkpoints"),
    ],
)
def test_a_wrong_row_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(GOOD)
    assert list(load_catalogue(path)) == ["x"]
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UserError, match=expected):
        load_catalogue(path)


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'dover'"):
        choose(["dovr"], catalogue())
    assert list(choose(["hpsv2.1", "dover"], catalogue())) == ["hpsv2.1", "dover"]


def test_sizes_and_pins_count_only_if_all_files_have_them() -> None:
    files = [{"path": "a", "bytes": 3, "sha256": "0" * 64}, {"path": "b", "bytes": 4}]
    row = Checkpoint.model_validate({"what": "x", "licence": {"name": "y"}, "files": files})
    assert (row.bytes, row.pinned) == (7, False)
    files[1] = {"path": "b", "sha256": "1" * 64}
    row = Checkpoint.model_validate({"what": "x", "licence": {"name": "y"}, "files": files})
    assert (row.bytes, row.pinned) == (None, True)


def test_a_pattern_without_a_slash_stays_in_the_upper_folder() -> None:
    row = Checkpoint.model_validate({"what": "x", "licence": {"name": "y"}, "patterns": ["*.json", "sub/*.txt"]})
    assert [path for path in ("a.json", "onnx/a.json", "sub/b.txt", "b.txt") if row.matches(path)] == [
        "a.json",
        "sub/b.txt",
    ]


def test_the_document_shows_every_row_with_its_address(project: Path) -> None:
    lines = (project / "docs/checkpoints.md").read_text().splitlines()
    for name, row in catalogue().items():
        [line] = [line for line in lines if line.startswith(f"| `{name}` |")]
        address = row.sources[0].removesuffix("@main") if row.sources else "none"
        assert line.endswith(f"| `{address}` |" if row.sources else "| none |"), line
