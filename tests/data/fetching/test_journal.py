"""What a run has settled, and a file of it that is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from hummingbird.data.fetching.journal import Journal
from hummingbird.errors import UserError


def test_outcomes_outlive_the_process(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.put("a", "0" * 64, "")
        journal.put("b", "", "http_404: Not Found")
    with Journal(tmp_path / "journal") as journal:
        assert [journal.get(name) for name in "abc"] == [("0" * 64, ""), ("", "http_404: Not Found"), None]


def test_a_damaged_file_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        for number in range(2000):
            journal.put(f"{number:08d}", "0" * 64, "")
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"x" * (len(whole) - 8192))  # its head, and what it says of its tables, are fine
    with Journal(path) as journal, pytest.raises(UserError, match=r"cannot read .*journal") as caught:
        for number in range(2000):
            journal.get(f"{number:08d}")
    assert caught.value.next_step == "delete it, and run again"
