from __future__ import annotations

import random
import re

import pytest

from hummingbird.data.sources.ids import Ids, safe_id

SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@pytest.mark.parametrize("name", ["1066674784", "a-b_c.d", "-dQw4w9WgXcQ", "world-11-000001", "a" * 80, "x--y"])
def test_safe_names_stay(name: str) -> None:
    assert safe_id(name) == name


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", ".hidden", "a/b", "../../etc/passwd", "a\0b", "a\n", "日本", "a" * 81, "C:\\x", "7--2", "\ud800"],
)
def test_unsafe_names_become_safe_and_stay_apart(name: str) -> None:
    assert safe_id(name) != name
    assert SAFE.fullmatch(safe_id(name))
    assert safe_id(name) == safe_id(name) != safe_id(name + "x")
    assert safe_id(safe_id(name)) != safe_id(name)  # so that nobody can take another's name


def test_every_id_is_unique_whatever_the_source_says() -> None:
    rng = random.Random(0)
    names = [rng.choice(("a", "a--2", "a--3", "", "a/b", safe_id("a/b"), "a--2--2", "b")) for _ in range(500)]
    ids = Ids(safe_id(name) for name in names)
    unique = [ids.unique(row, safe_id(name)) for row, name in enumerate(names)]
    assert len(ids) == len(set(unique)) == 500
    assert all(SAFE.fullmatch(name) for name in unique)
    first = names.index("a")
    assert unique[first] == "a"
    assert unique[names.index("a", first + 1)] == "a--2"
