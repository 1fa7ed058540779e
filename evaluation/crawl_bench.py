"""A dirty crawl, curated: is every row accounted for, with the right reason, in bounded memory?

    python -m evaluation.crawl_bench --rows 100000 --out evaluation/results/crawl.json

A server on loopback answers each row of a CSV as its address says: with one of five clips, at once or slowly, with an
error, a body that is cut short or never ends, a web page, a text, or silence. `hummingbird curate` takes the CSV, and
its table is compared with what the addresses say, row by row. Exit code 1 if a single row differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

from evaluation.latency.harness import processor_name
from hummingbird.data.clips import read_table
from hummingbird.data.video_io import encode_mp4
from hummingbird.files import write_json
from hummingbird.layout import Layout

CLIPS = 5
#: What the server does, how often, and the code that the row must end with. Good clips are of five kinds only: all but
#: the first of each are duplicates.
HABITS = {
    "good": (60.0, "duplicate"),
    "slow": (2.0, "duplicate"),
    "none": (25.0, "http_404"),
    "down": (1.0, "http_503"),
    "cut": (4.0, "truncated"),
    "endless": (0.8, "too_large"),
    "trickle": (0.1, "timeout"),
    "silent": (0.1, "timeout"),
    "page": (3.0, "not_a_video"),
    "text": (4.0, "corrupt"),
}
SETTINGS = {  # of ten thousand rows a handful is kept
    "download.fetch.allow_private": "true",
    "download.fetch.per_host": "32",
    "download.fetch.tries": "2",
    "download.fetch.pause_s": "0.1",
    "download.fetch.timeout_s": "10",
    "download.fetch.max_time_s": "15",
    "download.fetch.max_mb": "1",
    "download.clips_per_shard": "1000",
    **{f"curation.min_kept.{step}": "0" for step in ("download", "vqa_filter", "motion_filter", "recaption")},
}


class Handler(BaseHTTPRequestHandler):
    """Answers ``/HABIT/NUMBER.mp4``."""

    protocol_version = "HTTP/1.1"
    clips: Sequence[bytes]

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        habit, name = self.path.strip("/").split("/")
        clip = self.clips[int(name.removesuffix(".mp4")) % CLIPS]
        try:
            match habit:
                case "none" | "down":
                    self._answer(b"", 404 if habit == "none" else 503)
                case "cut":
                    self._answer(clip[:300], promised=len(clip))
                case "endless" | "trickle":
                    self._stream(bytes(1 << 16) if habit == "endless" else b"x", 0.0 if habit == "endless" else 0.2)
                case "silent":
                    time.sleep(20)
                    self.close_connection = True
                case "page":
                    self._answer(b"<html>", kind="text/html")
                case "text":
                    self._answer(b"not a video" * 9)
                case _:
                    time.sleep(0.5 if habit == "slow" else 0.0)
                    self._answer(clip)
        except OSError:  # the client has had enough
            self.close_connection = True

    def _answer(self, body: bytes, status: int = 200, kind: str = "video/mp4", promised: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = promised is not None

    def _stream(self, piece: bytes, pause: float) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while True:
            self.wfile.write(piece)
            time.sleep(pause)


class Server(ThreadingHTTPServer):
    """With room for all connections that wait."""

    daemon_threads = True
    request_queue_size = 256


@contextmanager
def serving() -> Iterator[str]:
    """The server; yields its address."""
    noise = [np.random.default_rng(n).integers(0, 256, (9 + n, 16, 24, 3), dtype=np.uint8) for n in range(CLIPS)]
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"clips": [encode_mp4(clip, 8) for clip in noise]}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def write_crawl(csv: Path, address: str, rows: int) -> list[str]:
    """Write the CSV; returns the habit behind each row."""
    habits = random.Random(1).choices(list(HABITS), [share for share, _ in HABITS.values()], k=rows)
    with csv.open("w") as file:
        file.write("videoid,contentUrl,duration,page_dir,name\n")
        for number, habit in enumerate(habits):
            file.write(f"{number},{address}/{habit}/{number}.mp4,PT1S,p,clip {number} is {habit}\n")
    return habits


def run_curate(csv: Path, out: Path) -> dict[str, Any]:
    """Run the command; its exit code, wall time, and the largest resident sets of it and of one of its workers."""
    words = ["curate", "--source", str(csv), "--out", str(out)]
    words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    start = time.monotonic()
    process = psutil.Popen([str(Path(sys.executable).with_name("hummingbird")), *words])
    peak, peak_worker = 0, 0
    while True:
        try:
            code = process.wait(timeout=2)
            break
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            peak = max(peak, _resident(process))
            peak_worker = max([peak_worker, *map(_resident, process.children(recursive=True))])
    wall = time.monotonic() - start
    return {"exit_code": code, "wall_s": wall, "peak_bytes": peak, "peak_worker_bytes": peak_worker}


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended
        return 0


def compare(table: pl.DataFrame, habits: Sequence[str]) -> dict[str, Any]:
    """Rows whose id, place or reason is not what the address says."""
    good = [number for number, habit in enumerate(habits) if HABITS[habit][1] == "duplicate"]
    originals = {number % CLIPS: number for number in reversed(good)}.values()
    expected = ["" if number in originals else HABITS[habit][1] for number, habit in enumerate(habits)]
    found = table["reason"].str.split(":").list.first().to_list()
    rows = zip(habits, table["reason"], found, expected, strict=True)
    wrong = [{"habit": habit, "reason": reason} for habit, reason, code, right in rows if code != right]
    return {
        "rows": len(table),
        "ids_in_order": table["clip_id"].to_list() == [str(number) for number in range(len(habits))],
        "reasons": dict(Counter(found).most_common()),
        "wrong_rows": len(wrong),
        "some": wrong[:10],
    }


def main() -> None:
    """Curate, compare, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, required=True, help="where to work; must not be there yet")
    parser.add_argument("--out", type=Path, default=Path("evaluation/results/crawl.json"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    with serving() as address:
        habits = write_crawl(given.folder / "crawl.csv", address, given.rows)
        figures = run_curate(given.folder / "crawl.csv", given.folder / "result")
    found = compare(read_table(Layout(given.folder / "result").clip_table("download")), habits)
    conditions = {"command": f"python -m evaluation.crawl_bench --rows {given.rows}", "processor": processor_name(),
                  "cores": psutil.cpu_count(), "settings": SETTINGS}  # fmt: skip
    write_json(given.out, {"conditions": conditions, **figures, **found})
    print(json.dumps({**figures, **found}, indent=2))
    sys.exit(1 if found["wrong_rows"] or not found["ids_in_order"] else 0)


if __name__ == "__main__":
    main()
