"""Fetching into the store: whole or nothing, verified, licences, records, and every kind of source."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from hummingbird.checkpoints import origins
from hummingbird.checkpoints.catalogue import Checkpoint, File, Licence
from hummingbird.checkpoints.fetch import Options, fetch
from hummingbird.checkpoints.imports import read_records
from hummingbird.checkpoints.store import Store
from hummingbird.errors import UserError
from hummingbird.runlog import SilentLog

DATA = {name: random.Random(name).randbytes(9000) for name in ("a.pt", "b.pt", "config.json")}
MIT = Licence(name="MIT", permissive=True)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def row(*paths: str, pinned: bool = False, licence: Licence = MIT, **fields: Any) -> Checkpoint:
    files = tuple(File(path=path, sha256=sha256(DATA[path]) if pinned else None) for path in paths)
    return Checkpoint(what="a test", licence=licence, files=files, **fields)


def run(store: Store, checkpoint: Checkpoint, log: Any = None, **options: Any) -> bool:
    return fetch({"net": checkpoint}, store, Options(**options), log or SilentLog())["net"]


def everything(store: Store) -> dict[str, bytes]:
    """Content of all files of the store but locks."""
    files = [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(store.root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def net(site: Any) -> Checkpoint:
    """A checkpoint of one file on the server."""
    site.files["/net/a.pt"] = DATA["a.pt"]
    return row("a.pt", sources=(f"{site.url}/net/",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder filled by hand."""
    for name, data in DATA.items():
        path = tmp_path / "filled/net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "filled"


def test_a_fetched_file_lies_under_its_hash_and_its_name(store: Store, net: Checkpoint) -> None:
    assert run(store, net) is True
    digest = sha256(DATA["a.pt"])
    blob = store.root / "store/sha256" / digest[:2] / digest[2:]
    assert blob.read_bytes() == DATA["a.pt"]
    assert not blob.stat().st_mode & 0o222
    assert store.path("net", "a.pt").samefile(blob)
    assert not list((store.root / "store/partial").iterdir())


def test_what_is_there_is_verified_and_not_fetched_again(store: Store, net: Checkpoint, site: Any) -> None:
    run(store, net)
    site.asked.clear()
    assert run(store, net) is False
    assert site.asked == []


@pytest.mark.parametrize("harm", ["damaged", "missing", "unnamed"])
def test_damage_is_mended_by_fetching_again(store: Store, net: Checkpoint, harm: str) -> None:
    run(store, net)
    blob = store.blob(sha256(DATA["a.pt"]))
    if harm == "damaged":
        blob.chmod(0o644)
        blob.write_bytes(b"x" * 9000)
    elif harm == "missing":
        blob.unlink()
    else:
        store.path("net", "a.pt").unlink()
    assert run(store, net) is True
    assert store.path("net", "a.pt").read_bytes() == DATA["a.pt"]
    assert run(store, net) is False


def test_an_unpinned_file_is_pinned_by_its_first_fetch(store: Store, net: Checkpoint, site: Any) -> None:
    run(store, net)
    store.blob(sha256(DATA["a.pt"])).unlink()
    before = everything(store)
    site.files["/net/a.pt"] = DATA["b.pt"]
    with pytest.raises(UserError, match=r"expected .*a\.pt\.dvc, written at the first fetch"):
        run(store, net)
    assert everything(store) == before


def test_a_wrong_file_leaves_the_store_as_it_was(store: Store, net: Checkpoint, site: Any) -> None:
    run(store, net)
    before = everything(store)
    other = row("b.pt", pinned=True, sources=net.sources)
    site.files["/net/b.pt"] = b"not what it should be"
    with pytest.raises(UserError, match="expected"):
        fetch({"other": other}, store, Options(), SilentLog())
    assert everything(store) == before


def test_a_checkpoint_is_there_only_with_all_its_files(store: Store, site: Any) -> None:
    both = row("a.pt", "b.pt", sources=(f"{site.url}/net/",))
    site.files["/net/a.pt"] = DATA["a.pt"]
    with pytest.raises(UserError, match=r"b\.pt is not there"):
        run(store, both)
    site.files["/net/b.pt"] = DATA["b.pt"]
    site.asked.clear()
    assert run(store, both) is True
    assert [path for path, _ in site.asked] == ["/net/b.pt"], "what had come is not fetched twice"


def test_a_killed_fetch_is_taken_up_by_the_next(store: Store, net: Checkpoint, site: Any) -> None:
    code = (
        "import os, sys\n"
        "from hummingbird.checkpoints import fetch, sources\n"
        "from hummingbird.checkpoints.catalogue import Checkpoint\n"
        "from hummingbird.checkpoints.store import Store\n"
        "from hummingbird.runlog import SilentLog\n"
        "sources.CHUNK = 1024\n"
        "class Killed(SilentLog):\n"
        "    def progress(self, items, description, total=None):\n"
        "        for n, item in enumerate(items):\n"
        "            if n == 5: os.kill(os.getpid(), 9)\n"
        "            yield item\n"
        "row = Checkpoint.model_validate_json(sys.argv[1])\n"
        "fetch.fetch({'net': row}, Store(), fetch.Options(), Killed())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, net.model_dump_json()], check=False)
    assert done.returncode == -9
    assert [path for path in everything(store) if not path.startswith("store/partial/")] == []
    site.asked.clear()
    assert run(store, net) is True
    assert site.asked == [("/net/a.pt", "bytes=5120-")]
    assert store.path("net", "a.pt").read_bytes() == DATA["a.pt"]


def test_two_fetches_at_once_fetch_once(store: Store, net: Checkpoint, site: Any) -> None:
    class Slow(SilentLog):
        def progress(self, items: Any, description: str, total: int | None = None) -> Any:
            for item in items:
                time.sleep(0.02)
                yield item

    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(run(store, net, Slow()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, True]
    assert len(site.asked) == 1


def test_licences_that_restrict_use_must_be_accepted(store: Store, net: Checkpoint, site: Any) -> None:
    strict = net.model_copy(update={"licence": Licence(name="research only")})
    with pytest.raises(UserError, match=r"net: research only") as caught:
        run(store, strict)
    assert "--accept-licenses" in caught.value.next_step
    assert site.asked == []
    assert run(store, strict, accept_licences=True) is True
    assert run(store, strict) is False, "what was accepted and is there needs no new consent"


def test_the_next_source_is_tried_where_the_first_has_no_such_file(store: Store, net: Checkpoint, site: Any) -> None:
    two = net.model_copy(update={"sources": (f"{site.url}/gone/", *net.sources)})
    assert run(store, two) is True
    neither = net.model_copy(update={"sources": (f"{site.url}/gone/", f"{site.url}/too/")})
    with pytest.raises(UserError, match=r"gone/a\.pt is not there.*\n.*too/a\.pt is not there"):
        fetch({"other": neither}, store, Options(), SilentLog())


def test_a_checkpoint_without_an_address_says_how_to_hand_it_in(store: Store, site: Any, folder: Path) -> None:
    with pytest.raises(UserError, match="no public address of:\n  net: a test") as caught:
        run(store, row("a.pt"))
    assert "--from" in caught.value.next_step
    site.files["/x/renamed.bin"] = DATA["a.pt"]
    assert run(store, row("a.pt"), source=f"{site.url}/x/renamed.bin") is True
    with pytest.raises(UserError, match="address of one checkpoint"):
        fetch({"net": row("a.pt"), "two": row("b.pt")}, store, Options(source="https://x/"), SilentLog())
    with pytest.raises(UserError, match="is no address"):
        fetch({"two": row("b.pt")}, store, Options(source="ftp://host/file"), SilentLog())
    with pytest.raises(UserError, match="has 2 files"):
        fetch({"two": row("a.pt", "b.pt")}, store, Options(source="https://host/file"), SilentLog())


@pytest.mark.parametrize("link", [False, True])
def test_a_filled_folder_serves_without_any_network(store: Store, folder: Path, link: bool) -> None:
    both = row("a.pt", "config.json", pinned=True, sources=("https://unreachable.invalid/",))
    assert run(store, both, folder=folder, link=link) is True
    assert store.path("net", "config.json").read_bytes() == DATA["config.json"]
    assert store.path("net", "a.pt").samefile(folder / "net/a.pt") is link
    assert (folder / "net/a.pt").stat().st_mode & 0o200, "the user's own file stays writable"


def test_a_folder_may_be_flat_a_single_file_or_matched_by_pattern(store: Store, folder: Path) -> None:
    table = {
        "flat": (row("a.pt"), folder / "net"),
        "single": (row("b.pt"), folder / "net/a.pt"),
        "net": (Checkpoint(what="x", licence=MIT, patterns=("*.json", "*.pt")), folder),
    }
    for name, (checkpoint, origin) in table.items():
        assert fetch({name: checkpoint}, store, Options(folder=origin), SilentLog())[name] is True
        assert fetch({name: checkpoint}, store, Options(), SilentLog())[name] is False
    assert store.path("single", "b.pt").read_bytes() == DATA["a.pt"]
    assert set(read_records(store, "net")) == set(DATA)
    with pytest.raises(UserError, match=r"other has no file like \*\.json"):  # those in `net` are another's
        fetch({"other": table["net"][0]}, store, Options(folder=folder), SilentLog())


def test_what_a_folder_lacks_is_named_with_its_place(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no a\.pt of net") as caught:
        run(store, row("a.pt"), folder=tmp_path)
    assert str(tmp_path / "net/a.pt") in caught.value.next_step
    with pytest.raises(UserError, match=r"has no file like \*\.safetensors"):
        run(store, Checkpoint(what="x", licence=MIT, patterns=("*.safetensors",)), folder=tmp_path)


def test_a_store_that_cannot_be_written_to_is_explained(
    store: Store, net: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.root.write_text("a file in the place of the folder")
    with pytest.raises(UserError, match="cannot write") as caught:
        run(store, net)
    assert "writable" in caught.value.next_step


def test_a_record_names_the_address_and_the_hashes(store: Store, net: Checkpoint, site: Any) -> None:
    run(store, net)
    values = yaml.safe_load((store.imports / "net/a.pt.dvc").read_text())
    assert values["deps"][0]["path"] == f"{site.url}/net/a.pt"
    assert values["frozen"] is True
    [out] = values["outs"]
    assert (out["md5"], out["size"], out["cache"]) == (hashlib.md5(DATA["a.pt"]).hexdigest(), 9000, False)
    assert values["meta"]["sha256"] == sha256(DATA["a.pt"])
    (store.imports / "net/a.pt.dvc").write_text("outs: 3\n")
    with pytest.raises(UserError, match="is no record of a checkpoint"):
        run(store, net)


def test_outside_a_dvc_project_the_step_to_take_is_named(
    net: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"DVC cannot record net/a\.pt"):
        run(Store(), net)


def test_dvc_tracks_a_fetched_file_without_a_network(store: Store, net: Checkpoint, site: Any) -> None:
    """As `dvc import-url` would have it: up to date, then changed when the content is; nothing goes to the cache."""
    run(store, net)
    site.files.clear()

    def status() -> Any:
        from dvc.repo import Repo

        with Repo(str(store.project)) as repo:
            return repo.status(targets=["checkpoints/imports/net/a.pt.dvc"])

    assert status() == {}
    blob = store.blob(sha256(DATA["a.pt"]))
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    os.utime(blob, (1, 1))
    assert "modified" in str(status())
    store.path("net", "a.pt").unlink()
    assert "deleted" in str(status())
    shutil.rmtree(store.root / "files")  # as in a fresh clone
    assert "deleted" in str(status())
    assert not [path for path in Path(".dvc").rglob("*") if path.is_file() and path.stat().st_size == 9000]


def test_origins_know_all_schemes_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "hub_source", lambda address: ("hub", address))
    assert origins.source_of("hf://a/b/c") == ("hub", "hf://a/b/c")
    assert origins.source_of("s3://bucket/key").address == "s3://bucket/key"
    assert origins.source_of("https://host/x").address == "https://host/x"
