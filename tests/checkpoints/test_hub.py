"""The Hugging Face hub, as a server on loopback that answers the part of its API that is used."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hummingbird.checkpoints.catalogue import Checkpoint, File, Licence
from hummingbird.checkpoints.fetch import Options, fetch
from hummingbird.checkpoints.hub import HubAddress, hub_files, hub_source
from hummingbird.checkpoints.imports import read_records
from hummingbird.checkpoints.store import Store
from hummingbird.errors import UserError
from hummingbird.runlog import SilentLog

MIT = Licence(name="MIT", permissive=True)
REPOSITORY = {
    "model.pt": random.Random(1).randbytes(9000),
    "config.json": b"{}",
    "onnx/config.json": b"{'other': 1}",
    "weights.safetensors": random.Random(2).randbytes(3000),
}


@pytest.fixture
def commit(site: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Commit of repository ``org/net`` on a hub that is reachable; nothing in the hub's cache."""
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return str(site.add_repository("org/net", REPOSITORY))


def one(**fields: Any) -> Checkpoint:
    return Checkpoint(
        what="x", licence=MIT, files=(File(path="model.pt"),), sources=("hf://org/net@main",), **fields
    )  # fmt: skip


def test_addresses_are_read_and_written() -> None:
    assert HubAddress.parse("hf://a/b") == HubAddress("a/b", "main", "")
    assert HubAddress.parse("hf://a/b@v1/c/d.pt") == HubAddress("a/b", "v1", "c/d.pt")
    assert str(HubAddress("a/b", "v1", "c/d.pt")) == "hf://a/b@v1/c/d.pt"
    with pytest.raises(UserError, match="is no address of the hub"):
        HubAddress.parse("hf://alone")


def test_a_file_comes_at_its_commit_and_is_checked_by_the_hubs_own_hash(store: Store, site: Any, commit: str) -> None:
    assert fetch({"net": one()}, store, Options(), SilentLog())["net"]
    record = read_records(store, "net")["model.pt"]
    assert record.source == f"hf://org/net@{commit}/model.pt"
    assert record.url == f"{site.url}/org/net/resolve/{commit}/model.pt"
    assert record.sha256 == hashlib.sha256(REPOSITORY["model.pt"]).hexdigest()


def test_other_bytes_than_the_hub_states_are_refused(store: Store, site: Any, commit: str) -> None:
    site.files[f"/org/net/resolve/{commit}/model.pt"] = b"x" * 9000
    with pytest.raises(UserError, match="what the source itself states"):
        fetch({"net": one()}, store, Options(), SilentLog())


def test_a_broken_download_goes_on_at_the_same_commit(store: Store, site: Any, commit: str) -> None:
    site.cuts = [5000, 0, 0, 0]
    with pytest.raises(UserError, match="broke 4 times"):
        fetch({"net": one()}, store, Options(), SilentLog())
    site.asked.clear()
    fetch({"net": one()}, store, Options(), SilentLog())
    assert site.asked == [(f"/org/net/resolve/{commit}/model.pt", "bytes=4096-")]


def test_patterns_choose_files_of_the_repository_itself(store: Store, commit: str) -> None:
    row = Checkpoint(what="x", licence=MIT, patterns=("*.json", "*.safetensors"), sources=("hf://org/net",))
    assert fetch({"net": row}, store, Options(), SilentLog())["net"] is True
    assert set(read_records(store, "net")) == {"config.json", "weights.safetensors"}
    assert fetch({"net": row}, store, Options(), SilentLog())["net"] is False
    with pytest.raises(UserError, match=r"has no file like \*\.ckpt"):
        hub_files("hf://org/net", row.model_copy(update={"patterns": ("*.ckpt",)}))


def test_a_token_is_sent(store: Store, site: Any, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    fetch({"net": one()}, store, Options(), SilentLog())
    assert site.authorisation == ["Bearer hf_test"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://org/none/model.pt", "the hub knows no such repository"),
        ("hf://org/net@v9/model.pt", "no such revision"),
        ("hf://org/net/other.pt", "the repository has no such file"),
        ("hf://org/gated/model.pt", "its repository is gated"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_next_step(site: Any, commit: str, address: str, expected: str) -> None:
    site.repositories["org/gated"] = {"gated": True, "sha": "main"}
    with pytest.raises(UserError, match=expected) as caught:
        hub_source(address)
    assert "--from" in caught.value.next_step or "hf auth login" in caught.value.next_step


def test_a_file_behind_a_log_in_says_so(store: Store, site: Any, commit: str) -> None:
    site.statuses = [401]
    with pytest.raises(UserError, match="may not be fetched") as caught:
        fetch({"net": one()}, store, Options(), SilentLog())
    assert "hf auth login" in caught.value.next_step


def test_no_hub_is_explained(commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="no hub answers"):
        hub_source("hf://org/net/model.pt")


def test_offline_the_hubs_cache_serves_and_nothing_else(
    store: Store, site: Any, commit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids") as caught:
        fetch({"net": one()}, store, Options(), SilentLog())
    assert "--from" in caught.value.next_step
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids"):
        hub_files("hf://org/net", one())
    folder = tmp_path / "hub/models--org--net"
    for path, text in ((f"snapshots/{commit}/model.pt", "cached"), ("refs/main", commit)):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
    fetch({"net": one()}, store, Options(), SilentLog())
    assert store.path("net", "model.pt").read_text() == "cached"
    assert site.asked == []


def test_the_environment_alone_chooses_the_hub(store: Store, site: Any, commit: str) -> None:
    """In a process of its own, where nothing is patched."""
    code = (
        "import sys; from hummingbird.checkpoints.catalogue import Checkpoint\n"
        "from hummingbird.checkpoints.fetch import *; from hummingbird.runlog import SilentLog\n"
        "fetch({'net': Checkpoint.model_validate_json(sys.argv[1])}, Store(), Options(), SilentLog())\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": site.url, "HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", code, one().model_dump_json()], env=environment, check=True)
    assert store.path("net", "model.pt").read_bytes() == REPOSITORY["model.pt"]
