"""The stage ``download`` on crawls that are served over HTTP, by a server with every bad habit."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hummingbird.data.clips import read_table
from hummingbird.data.video_io import encode_mp4
from hummingbird.layout import Layout
from hummingbird.params import Download, Fetch, Params, Preparation, dump_params
from hummingbird.runlog import SilentLog
from hummingbird.stages import download

QUICK = Fetch(allow_private=True, connections=8, tries=2, pause_s=0.01, timeout_s=30.0, max_time_s=60.0, max_mb=40.0)
#: What the server does, by the first part of the path, and the code it ends with.
HABITS = {
    "good": "", "slow": "", "moved": "", "none": "http_404", "down": "http_503", "cut": "truncated",
    "endless": "too_large", "page": "not_a_video", "text": "corrupt", "empty": "empty", "short": "too_short",
}  # fmt: skip


@dataclass
class Web:
    """A running server: its address, the files it has, and how often each path was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    count: Counter[str] = field(default_factory=Counter)


class Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.web.count[self.path] += 1
        habit, good = self.path.split("/")[1], self.web.files["good"]
        try:
            match habit:
                case "none" | "down":
                    self.answer(b"", 404 if habit == "none" else 503)
                case "slow":
                    time.sleep(0.05)
                    self.answer(good)
                case "moved":
                    self.answer(b"", 302, Location="/good/elsewhere")
                case "page":
                    self.answer(b"<html>", **{"Content-Type": "text/html"})
                case "cut":
                    self.answer(good[:200], **{"Content-Length": str(len(good))})
                    self.close_connection = True
                case "endless":
                    self.send_response(200)
                    self.end_headers()
                    self.close_connection = True
                    while True:
                        self.wfile.write(bytes(1 << 16))
                case _:
                    body = self.web.files.get(habit)
                    self.answer(body or b"", 404 if body is None else 200)
        except OSError:  # the client has had enough
            self.close_connection = True


@pytest.fixture
def web() -> Iterator[Web]:
    video = np.random.default_rng(0).integers(0, 256, (9, 16, 24, 3), dtype=np.uint8)
    web = Web()
    web.files = {
        "good": encode_mp4(video, 8),
        "text": b"not a video" * 9,
        "empty": b"",
        "short": encode_mp4(video[:2], 8),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"web": web}))
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield web
    server.shutdown()
    server.server_close()
    thread.join()


def crawl(web: Web, folder: Path, rows: int, **changes: Any) -> tuple[Params, list[str]]:
    """Parameters for a WebVid CSV of so many rows, and the habit behind each."""
    rare = ("down", "endless", "slow", "page")
    usual = ("good", "none", "cut", "text", "short", "moved", "empty", "good")
    habits = [rare[n // 50 % len(rare)] if n % 50 == 7 else usual[n % len(usual)] for n in range(rows)]
    lines = [f"{n},{web.url}/{habit}/{n}.mp4,PT1S,p,clip {n} is {habit}" for n, habit in enumerate(habits)]
    csv = folder / "crawl.csv"
    csv.write_text("\n".join(["videoid,contentUrl,duration,page_dir,name", *lines]))
    fetch = QUICK.model_copy(update={"max_mb": 0.5, **changes})
    settings = Preparation(duplicates="mark")  # it is one and the same video behind all addresses
    crawl = Download(source=str(csv), fetch=fetch, clips_per_shard=rows // 4, clips=rows, preparation=settings)
    return Params(download=crawl), habits


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_two_thousand_dirty_rows_are_right_to_the_row(tmp_path: Path, web: Web) -> None:
    params, habits = crawl(web, tmp_path, 2000)
    layout = Layout(tmp_path)
    figures = download.run(params, layout, SilentLog())
    table = read_table(layout.clip_table("download"))
    assert table["clip_id"].to_list() == [str(n) for n in range(2000)]
    assert [reason.partition(":")[0] for reason in table["reason"]] == [HABITS[habit] for habit in habits]
    assert table["caption"].to_list() == [f"clip {n} is {habit}" for n, habit in enumerate(habits)]
    expected = Counter(HABITS[habit] for habit in habits)
    assert figures["kept"] == expected.pop("")
    assert {name: figures[f"dropped_{name}"] for name in expected} == expected
    layout.raw.rename(tmp_path / "first")
    again = params.model_copy(update={"download": params.download.model_copy(update={"min_frames": 9})})
    download.run(again, layout, SilentLog())
    assert contents(layout.raw) == contents(tmp_path / "first")
    here = ("good", "slow", "moved", "text", "empty", "short")
    assert {web.count[f"/{habit}/{n}.mp4"] for n, habit in enumerate(habits) if habit in here} == {1}


def test_a_run_that_is_killed_three_times_ends_the_same(tmp_path: Path, web: Web, project: Path) -> None:
    params, habits = crawl(web, tmp_path, 240, keep=False, connections=4)
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "params.yaml").write_text(dump_params(params))
    script = (
        "from hummingbird.layout import Layout; from hummingbird.params import load_params;"
        "from hummingbird.runlog import SilentLog; from hummingbird.stages import download;"
        "download.run(load_params(), Layout(), SilentLog())"
    )
    for after in (20, 110, 200):
        run = subprocess.Popen([sys.executable, "-c", script], cwd=killed)
        while web.count.total() < after:
            assert run.poll() is None
            time.sleep(0.005)
        run.kill()
        run.wait()
    assert not (killed / "data/raw").exists()
    download.run(params, Layout(killed), SilentLog())
    good = [f"/{habit}/{n}.mp4" for n, habit in enumerate(habits) if habit in ("good", "slow", "text", "short")]
    twice = [path for path in good if web.count[path] > 1]
    assert all(web.count[path] for path in good)
    assert len(twice) <= 3 * 4  # what was under way when it was killed
    download.run(params, Layout(tmp_path / "whole"), SilentLog())
    assert contents(killed / "data") == contents(tmp_path / "whole/data")
    assert not (killed / ".work/download/fetched").exists()


def test_the_real_clips_served_are_all_accounted_for(tmp_path: Path, project: Path, web: Web) -> None:
    folder = project.parent / "shared/clips"
    if not folder.is_dir():
        pytest.skip("the real clips are not part of the repository")
    text = (folder / "clips.csv").read_text().replace("http://127.0.0.1:8765", web.url)
    (tmp_path / "clips.csv").write_text(text)
    web.files |= {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".csv"}
    params = Params(download=Download(source=str(tmp_path / "clips.csv"), fetch=QUICK))
    layout = Layout(tmp_path)
    figures = download.run(params, layout, SilentLog())
    table = read_table(layout.clip_table("download"))
    reasons = dict(zip(table["clip_id"], table["reason"], strict=True))
    dropped = {clip_id: reason for clip_id, reason in reasons.items() if reason}
    assert figures["clips"] == len(reasons) == 30  # of two long ones, 3 and 2 parts
    assert len({name.partition("@")[0] for name in reasons}) == 27
    assert {clip_id: reason.partition(":")[0] for clip_id, reason in dropped.items()} == {
        "1000024": "too_short",
        "1000025": "too_short",
        "1000026": "corrupt",
        "1000027": "empty",
    }
    assert dropped["1000027"] == "empty: no bytes"
    [turned] = table.filter(table["clip_id"] == "1000024").to_dicts()
    assert turned["height"] > turned["width"]
    asked = web.count.total()
    again = params.model_copy(update={"download": params.download.model_copy(update={"min_frames": 5})})
    download.run(again, layout, SilentLog())
    assert web.count.total() == asked
