"""What is said to be there, and what reading it again finds out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hummingbird.checkpoints import inventory
from hummingbird.checkpoints.catalogue import Checkpoint, File, Licence
from hummingbird.checkpoints.fetch import Options, fetch
from hummingbird.checkpoints.store import Store
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.models.convert.networks import Network
from hummingbird.params import Foundation, Params, PublicCheckpoints
from hummingbird.runlog import SilentLog
from hummingbird.stages import foundation

ROW = Checkpoint(
    what="x", licence=Licence(name="MIT", permissive=True), files=(File(path="a.pt"), File(path="b.pt"))
)  # fmt: skip


@pytest.fixture
def filled(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with checkpoint ``net`` of two files, which is in the table."""
    monkeypatch.setattr(inventory, "catalogue", lambda: {"net": ROW})
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_text(f"content of {name}")
    fetch({"net": ROW}, store, Options(folder=tmp_path), SilentLog())
    return store


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert inventory.state(store, "net", ROW) == "-"
    assert inventory.find_damage(store, ["net"], SilentLog()) == (0, [])


def test_an_unfinished_file_shows(store: Store) -> None:
    partial = store.partial("net", "a.pt")
    partial.begin("https://host/a.pt", "", 0, None)
    partial.path.write_bytes(bytes(3_000_000))
    assert inventory.state(store, "net", ROW) == "unfinished, 3 MB here"


def test_what_was_fetched_is_here_and_intact(filled: Store) -> None:
    assert inventory.state(filled, "net", ROW) == "here"
    assert inventory.find_damage(filled, ["net"], SilentLog()) == (2, [])
    assert inventory.require(filled, ["net"], SilentLog()) == {"net": filled.path("net", "")}


@pytest.mark.parametrize(
    ("harm", "problem", "state"),
    [
        ("flip", "damaged: its sha256", "here"),
        ("cut", "3 bytes, expected 15", "1 of 2 files lost"),
        ("delete", "missing", "1 of 2 files lost"),
        ("replace", "damaged: its sha256", "here"),
    ],
)
def test_damage_is_found_and_named(filled: Store, harm: str, problem: str, state: str) -> None:
    path = filled.path("net", "a.pt")
    path.chmod(0o644)
    if harm == "flip":
        path.write_text("content of b.pt")
    elif harm == "cut":
        path.write_text("cut")
    else:
        path.unlink()
    if harm == "replace":
        path.write_text("another file here")
    assert inventory.state(filled, "net", ROW) == state
    count, [damage] = inventory.find_damage(filled, ["net"], SilentLog())
    assert (count, damage.name, damage.path) == (2, "net", path)
    assert problem in damage.problem
    with pytest.raises(UserError) as caught:
        inventory.require(filled, ["net"], SilentLog())
    assert caught.value.next_step == "hummingbird checkpoints fetch net"
    fetch({"net": ROW}, filled, Options(folder=filled.project / ".."), SilentLog())
    assert inventory.find_damage(filled, ["net"], SilentLog()) == (2, [])


def test_the_foundation_wants_its_checkpoints_whole(filled: Store) -> None:
    kinds = (
        *("unet", "vae", "text_encoder", "tokenizer", "dover", "recaptioner"),
        *("image_reward", "video_reward"),
    )
    networks: Any = {"net": dict.fromkeys(kinds, Network(lambda source, target: None))}
    roles = PublicCheckpoints(**dict.fromkeys(PublicCheckpoints.model_fields, "net"))
    params = Params(foundation=Foundation(mode="checkpoints", checkpoints=roles))
    filled.path("net", "a.pt").unlink()
    with pytest.raises(UserError, match="not in checkpoints: net"):
        foundation.run(params, Layout(), SilentLog(), networks)
    with pytest.raises(UserError, match=r"foundation\.checkpoints names none"):
        foundation.run(Params(foundation=Foundation(mode="checkpoints")), Layout(), SilentLog())
    with pytest.raises(UserError, match="checkpoint 'net' holds no unet"):
        foundation.run(params, Layout(), SilentLog())
