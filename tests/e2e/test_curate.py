"""`hummingbird curate` as a user runs it: the real clips over HTTP, again, through kill -9, and its other modes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

PROJECT = Path(__file__).parents[2]
CLIPS = PROJECT.parent / "shared/clips"
SERVED = "http://127.0.0.1:8765/"  # in the CSV
FIREWORKS, PANORAMA, DARK, WEBCAM, MOTORCYCLE, ROTATED = (
    "1000013",
    "1000014",
    "1000015",
    "1000019",
    "1000020",
    "1000024",
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here"),
]


@dataclass
class Served:
    """A crawl on loopback, and how often each of its files was asked for."""

    csv: Path
    asked: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    crawl = Served(tmp_path_factory.mktemp("crawl") / "webvid.csv")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

        def do_GET(self) -> None:
            crawl.asked[self.path] += 1
            super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(CLIPS)))
    address = f"http://127.0.0.1:{server.server_port}/"
    crawl.csv.write_text((CLIPS / "clips.csv").read_text().replace(SERVED, address))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield crawl
    server.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with the miniature's models in place."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copyfile(PROJECT / "params.yaml", folder / "params.yaml")
    (folder / "artifacts").mkdir()
    (folder / "artifacts/foundation").symlink_to(PROJECT / "assets/miniature")
    return folder


def command(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("hummingbird")), "curate", *words]


def curate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command(*words), cwd=folder, env=wide, capture_output=True, text=True, check=False)


def crawl_options(served: Served, out: str) -> list[str]:
    return ["--source", str(served.csv), "--out", out, "--set", "download.fetch.allow_private=true"]


def table(folder: Path) -> Path:
    return folder / "data/recaption/clips.parquet"


@pytest.fixture(scope="module")
def result(folder: Path, served: Served) -> Path:
    done = curate(folder, *crawl_options(served, "first"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "first"


def test_every_real_clip_is_accounted_for(result: Path) -> None:
    clips = pl.read_parquet(table(result))
    rows = pl.read_csv(CLIPS / "clips.csv")
    assert set(clips["source_id"]) == set(map(str, rows["videoid"])) and len(rows) == 27
    reasons = dict(clips.select("clip_id", pl.col("reason").str.split(":").list.first()).iter_rows())
    dropped = {clip: reason for clip, reason in reasons.items() if reason}
    assert dropped == {
        DARK: "black",
        ROTATED: "too_short",
        "1000025": "too_short",
        "1000026": "corrupt",
        "1000027": "empty",
    }
    assert len(pl.read_parquet(result / "data/latents/index.parquet")) == clips["kept"].sum()


def test_the_filters_see_in_real_clips_what_is_there(result: Path) -> None:
    clips = {row["clip_id"]: row for row in pl.read_parquet(table(result)).iter_rows(named=True)}
    assert clips[FIREWORKS]["technical"] < clips[PANORAMA]["technical"]  # by the miniature's DOVER
    assert clips[DARK]["highlights"] < 0.2 < clips[PANORAMA]["highlights"]  # by a signal: DOVER was spared it
    assert clips[MOTORCYCLE]["camera"] == "forward" and clips[MOTORCYCLE]["dolly_zoom"] < 0.1
    assert clips[WEBCAM]["camera"] == "fixed"
    assert clips[ROTATED]["height"] > clips[ROTATED]["width"]  # upright
    assert clips[ROTATED]["transcoded"] == "rotation"


def test_a_rerun_downloads_nothing_and_changes_nothing(folder: Path, result: Path, served: Served) -> None:
    before, asked = table(result).read_bytes(), served.asked.total()
    done = curate(folder, *crawl_options(served, "first"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert served.asked.total() == asked
    assert table(result).read_bytes() == before


def test_killed_at_three_points_it_ends_the_same(folder: Path, result: Path, served: Served) -> None:
    out = folder / "killed"
    points: dict[str, Callable[[], bool]] = {
        "fetching": lambda: len(list(out.glob(".work/download/fetched/files/*/*"))) >= 5,
        "measuring": lambda: any(out.glob(".work/measure/*")),
        "encoding": lambda: (out / "data/recaption/clips.parquet").is_file(),
    }
    for name, reached in points.items():
        process = subprocess.Popen(command(*crawl_options(served, "killed")), cwd=folder, start_new_session=True)
        deadline = time.monotonic() + 900
        while not reached():
            assert process.poll() is None, f"it ended before {name}"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    asked = served.asked.total()
    done = curate(folder, *crawl_options(served, "killed"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert served.asked.total() == asked  # what had been fetched was not fetched again
    assert table(out).read_bytes() == table(result).read_bytes()
    latents = {path.name: path.read_bytes() for path in (result / "data/latents").iterdir()}
    assert {path.name: path.read_bytes() for path in (out / "data/latents").iterdir()} == latents


def test_one_clip_is_explained(folder: Path, result: Path) -> None:
    done = curate(folder, "--out", "first", "--explain", DARK)
    assert done.returncode == 0, done.stderr
    assert "dropped, black" in done.stdout
    assert "dropped for it (black)" in " ".join(done.stdout.split())
    assert (result / f"reports/explained/{DARK}.png").is_file()


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    done = curate(folder, "--source", str(CLIPS / "clips.csv"), "--dry-run", "--out", "dry")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "27 rows" in done.stdout and "Nothing was written there" in done.stdout
    assert not (folder / "dry").exists()
