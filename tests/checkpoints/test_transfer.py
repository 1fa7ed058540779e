"""Every way in which a download goes wrong: what it says, what it keeps, and that going on gives the right file."""

from __future__ import annotations

import errno
import hashlib
import random
import shutil
import socket
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from hummingbird.checkpoints.catalogue import File
from hummingbird.checkpoints.sources import FileSource, HttpSource
from hummingbird.checkpoints.transfer import TRIES, Wanted, take_link, transfer
from hummingbird.errors import UserError
from hummingbird.runlog import SilentLog
from hummingbird.streams.partial import Partial

DATA = random.Random(1).randbytes(20_000)
OTHER = random.Random(2).randbytes(20_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PINNED = Wanted(File(path="model.ckpt", bytes=len(DATA), sha256=SHA256))
UNPINNED = Wanted(File(path="model.ckpt"))


@pytest.fixture
def partial(tmp_path: Path) -> Partial:
    return Partial(tmp_path / "partial/key.part")


@pytest.fixture
def source(site: Any) -> HttpSource:
    site.files["/model.ckpt"] = DATA
    return HttpSource(f"{site.url}/model.ckpt")


def leave_a_part(site: Any, source: HttpSource, partial: Partial, size: int = 7000) -> Partial:
    """Let a transfer break off for good, and look at what it left as a new process would."""
    site.cuts = [size, *[0] * TRIES]
    with pytest.raises(UserError, match=r"broke 4 times.*\d bytes that have come are kept"):
        transfer(source, partial, UNPINNED, SilentLog())
    assert 0 < partial.size < size + 1
    site.asked.clear()
    site.cuts.clear()
    return Partial(partial.path)


def test_a_whole_file_comes_with_its_hashes(site: Any, source: HttpSource, partial: Partial) -> None:
    digest = transfer(source, partial, PINNED, SilentLog())
    assert (digest.sha256, digest.bytes) == (SHA256, len(DATA))
    assert digest.md5 == hashlib.md5(DATA).hexdigest()
    assert partial.path.read_bytes() == DATA


def test_a_cut_connection_is_taken_up_again_by_itself(site: Any, source: HttpSource, partial: Partial) -> None:
    site.cuts = [5000, 6000, 3000]
    assert transfer(source, partial, PINNED, SilentLog()).sha256 == SHA256
    asked = [int((span or "bytes=0-")[6:-1]) for _, span in site.asked]
    assert len(asked) == 4
    assert asked == sorted(set(asked)), "each try goes on where the last one ended"


def test_a_later_run_goes_on_where_the_last_one_ended(site: Any, source: HttpSource, partial: Partial) -> None:
    again = leave_a_part(site, source, partial)
    begun = again.size
    digest = transfer(source, again, UNPINNED, SilentLog())
    assert site.asked == [("/model.ckpt", f"bytes={begun}-")]
    assert digest.sha256 == SHA256
    assert again.path.read_bytes() == DATA


@pytest.mark.parametrize("fault", ["ranges", "if_range"])
def test_a_file_that_changed_meanwhile_is_begun_anew(
    site: Any, source: HttpSource, partial: Partial, fault: str
) -> None:
    again = leave_a_part(site, source, partial)
    site.files["/model.ckpt"] = OTHER
    setattr(site, fault, False)  # also by a server that ignores the condition, or the range
    digest = transfer(source, again, UNPINNED, SilentLog())
    assert digest.sha256 == hashlib.sha256(OTHER).hexdigest()
    assert again.path.read_bytes() == OTHER


def test_a_server_without_ranges_sends_the_whole_again(site: Any, source: HttpSource, partial: Partial) -> None:
    again = leave_a_part(site, source, partial)
    site.ranges = False
    assert transfer(source, again, UNPINNED, SilentLog()).sha256 == SHA256
    assert again.path.read_bytes() == DATA


def test_without_versions_only_a_file_with_a_known_hash_is_resumed(
    site: Any, source: HttpSource, partial: Partial
) -> None:
    site.tags = False
    for wanted, asked in ((UNPINNED, None), (PINNED, "bytes=7000-")):
        partial.begin(source.address, "", 0, len(DATA))
        partial.path.write_bytes(DATA[:7000])
        site.asked.clear()
        assert transfer(source, Partial(partial.path), wanted, SilentLog()).sha256 == SHA256
        assert site.asked == [("/model.ckpt", asked)]


def test_a_shorter_file_than_what_has_come_is_begun_anew(site: Any, source: HttpSource, partial: Partial) -> None:
    again = leave_a_part(site, source, partial)
    site.files["/model.ckpt"], site.if_range = DATA[:3000], False
    assert transfer(source, again, UNPINNED, SilentLog()).bytes == 3000


def test_a_run_killed_after_the_last_byte_asks_for_nothing(site: Any, source: HttpSource, partial: Partial) -> None:
    transfer(source, partial, UNPINNED, SilentLog())
    site.asked.clear()
    assert transfer(source, Partial(partial.path), PINNED, SilentLog()).sha256 == SHA256
    assert site.asked == []


def test_the_part_of_another_address_is_not_used(site: Any, source: HttpSource, partial: Partial) -> None:
    again = leave_a_part(site, source, partial)
    site.files["/mirror/model.ckpt"] = OTHER
    digest = transfer(HttpSource(f"{site.url}/mirror/model.ckpt"), again, UNPINNED, SilentLog())
    assert digest.sha256 == hashlib.sha256(OTHER).hexdigest()


def test_a_busy_server_is_asked_again(site: Any, source: HttpSource, partial: Partial) -> None:
    site.statuses = [503, 429]
    assert transfer(source, partial, PINNED, SilentLog()).sha256 == SHA256
    site.statuses = [500] * TRIES
    partial.discard()
    with pytest.raises(UserError, match="broke 4 times: the server answers 500"):
        transfer(source, partial, PINNED, SilentLog())


def test_a_wrong_hash_is_refused_and_thrown_away(site: Any, source: HttpSource, partial: Partial) -> None:
    site.files["/model.ckpt"] = OTHER
    with pytest.raises(UserError, match=f"sha256 {hashlib.sha256(OTHER).hexdigest()}, expected {SHA256}"):
        transfer(source, partial, PINNED, SilentLog())
    assert list(partial.path.parent.iterdir()) == []


def test_a_wrong_size_is_refused_before_anything_comes(site: Any, source: HttpSource, partial: Partial) -> None:
    site.files["/model.ckpt"] = DATA[:-1]
    with pytest.raises(UserError, match="has 19999 bytes, expected 20000"):
        transfer(source, partial, PINNED, SilentLog())


def test_a_truncated_file_of_unknown_length_is_noticed(site: Any, source: HttpSource, partial: Partial) -> None:
    site.lengths = False
    site.files["/model.ckpt"] = DATA[:5000]
    with pytest.raises(UserError, match="5000 bytes, expected 20000"):
        transfer(source, partial, PINNED, SilentLog())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"files": {}}, "is not there: the server answers 404"),
        ({"statuses": [403]}, "may not be fetched"),
        ({"statuses": [401]}, "may not be fetched"),
        ({"kind": "text/html; charset=utf-8"}, "is a web page, not a file"),
        ({"files": {"/model.ckpt": b""}}, "it is empty"),
    ],
)
def test_what_a_server_refuses_is_said_with_the_next_step(
    site: Any, source: HttpSource, partial: Partial, change: dict[str, Any], expected: str
) -> None:
    for name, value in change.items():
        setattr(site, name, value)
    with pytest.raises(UserError, match=expected) as caught:
        transfer(source, partial, UNPINNED, SilentLog())
    assert "--source" in caught.value.next_step or "--from" in caught.value.next_step


def test_a_refused_connection_is_explained(partial: Partial) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/model.ckpt"
        with pytest.raises(UserError, match="no server answers for http"):
            transfer(HttpSource(address), partial, UNPINNED, SilentLog())


def test_an_address_shows_no_secret() -> None:
    source = HttpSource("https://user:password@host/path/x.pt?token=secret")
    assert (source.address, source.url) == ("https://host/path/x.pt",) * 2


class FullDisk:
    """A file on a disk that has room for ``room`` more bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return int(written)

    def fileno(self) -> int:
        return int(self.file.fileno())


def test_a_disk_that_fills_up_is_explained_and_the_part_kept(
    site: Any, source: HttpSource, partial: Partial, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.open

    def open_(self: Path, mode: str = "r", buffering: int = -1, **text: Any) -> Any:
        file = plain(self, mode, buffering, **text)
        return FullDisk(file, 5000) if (mode, buffering) == ("ab", 0) else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_)
        with pytest.raises(UserError, match=r"cannot write .*key\.part: No space left") as caught:
            transfer(source, partial, PINNED, SilentLog())
    assert "free some disk space" in caught.value.next_step
    assert partial.size == 5000
    site.asked.clear()
    assert transfer(source, Partial(partial.path), PINNED, SilentLog()).sha256 == SHA256
    assert site.asked == [("/model.ckpt", "bytes=5000-")]


def test_a_file_larger_than_the_disk_is_not_begun(
    site: Any, source: HttpSource, partial: Partial, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6, 10_000))
    with pytest.raises(UserError, match=r"needs 0\.00 GB more"):
        transfer(source, partial, PINNED, SilentLog())
    assert partial.size == 0


def test_a_local_file_is_copied_and_resumed(tmp_path: Path, partial: Partial) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(DATA)
    source = FileSource(file)
    with source.open(0, "") as stream:
        version = stream.version
    partial.begin(source.address, version, 0, len(DATA))
    partial.path.write_bytes(DATA[:4000])
    assert transfer(source, partial, PINNED, SilentLog()).sha256 == SHA256
    with pytest.raises(UserError, match=r"cannot read .*absent"):
        transfer(FileSource(tmp_path / "absent"), partial, PINNED, SilentLog())


def test_a_local_file_can_be_linked(tmp_path: Path, partial: Partial) -> None:
    file = tmp_path / "model.ckpt"
    file.write_bytes(DATA)
    assert take_link(FileSource(file), partial, PINNED).sha256 == SHA256
    assert partial.path.samefile(file)
    file.write_bytes(OTHER)
    with pytest.raises(UserError, match="sha256"):
        take_link(FileSource(file), partial, PINNED)
    assert file.read_bytes() == OTHER, "the user's own file stays"
