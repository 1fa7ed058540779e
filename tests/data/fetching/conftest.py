"""A web server on loopback that does to a crawl what real ones do, by the path that is asked for."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from hummingbird.data.sources import Item
from hummingbird.params import Fetch

DATA = bytes(range(256)) * 40  # 10,240 bytes
BOMB = gzip.compress(bytes(20 << 20))  # 20 MiB in 20 KB


@dataclass
class Crawled:
    """A running server: where it is, what it was asked, and how many answers were under way at once."""

    data: bytes = DATA  # of every good file
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    count: Counter[str] = field(default_factory=Counter)
    version: str = '"1"'
    after: list[float] = field(default_factory=list)  # when /busy was asked, in seconds
    open: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def item(self, path: str, clip_id: str = "") -> Item:
        return Item(clip_id or re.sub(r"\W+", "-", path).strip("-"), f"{self.url}{path}", "a caption", "test")


class Handler(BaseHTTPRequestHandler):
    site: Crawled
    protocol_version = "HTTP/1.1"
    RANGES: ClassVar = {
        "none": "",
        "middle": "bytes 5-10/100",
        "digits": f"bytes {'9' * 5000}-1/*",
        "beyond": "bytes 1000000000000000000-1/*",
        "far": "bytes 3000000000-3000000005/*",
    }

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        site, path = self.site, self.path.partition("?")[0]
        with site.lock:
            site.asked.append((path, self.headers.get("Range")))
            site.count[path] += 1
            site.open += 1
            site.most = max(site.most, site.open)
        try:
            getattr(self, f"do_{path.split('/')[1]}", self.do_nothing)(path, site.count[path])
        except OSError:  # the client has gone
            self.close_connection = True
        finally:
            with site.lock:
                site.open -= 1

    def answer(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_nothing(self, path: str, count: int) -> None:
        self.answer(b"not here", 404)

    def do_good(self, path: str, count: int) -> None:
        self.answer(DATA, Content_Type="video/mp4")

    def do_slowly(self, path: str, count: int) -> None:
        time.sleep(0.1)
        self.do_good(path, count)

    def do_flaky(self, path: str, count: int) -> None:
        self.answer(b"", 500) if count < 3 else self.do_good(path, count)

    def do_busy(self, path: str, count: int) -> None:
        self.site.after.append(time.monotonic())
        self.answer(b"", 429, Retry_After=path.split("/")[2]) if count == 1 else self.do_good(path, count)

    def do_silent(self, path: str, count: int) -> None:
        time.sleep(2)

    def do_truncated(self, path: str, count: int) -> None:
        self.answer(DATA[:500], length=len(DATA))
        self.close_connection = True

    def do_broken(self, path: str, count: int) -> None:
        """Breaks off twice; can go on from anywhere unless the client's version is another."""
        asked, fresh = self.headers.get("Range"), self.headers.get("If-Range") in (None, self.site.version)
        start = int(asked[6:].rstrip("-")) if asked and fresh else 0
        body, headers = DATA[start:], {"ETag": self.site.version}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        self.answer(body if count > 2 else body[:3000], 206 if start else 200, length=len(body), **headers)
        if count <= 2:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def endlessly(self, piece: bytes, pause: float) -> None:
        self.close_connection = True
        for _ in range(1000):
            self.wfile.write(piece)
            time.sleep(pause)

    def do_endless(self, path: str, count: int) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.endlessly(bytes(1 << 16), 0)

    def do_trickle(self, path: str, count: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.endlessly(b"x", 0.1)

    def do_headers(self, path: str, count: int) -> None:
        self.send_response(200)
        self.flush_headers()
        self.endlessly(b"X: y\r\n", 0.1)

    def do_range(self, path: str, count: int) -> None:
        """Part of a file that nobody asked for."""
        said = self.RANGES[path.split("/")[2]]
        self.answer(b"abcdef", 206, **({"Content_Range": said} if said else {}))

    def do_bomb(self, path: str, count: int) -> None:
        self.answer(BOMB, Content_Encoding="gzip")

    def do_large(self, path: str, count: int) -> None:
        self.answer(b"", length=5_000_000)

    def do_page(self, path: str, count: int) -> None:
        self.answer(b"<html>log in</html>", Content_Type="text/html; charset=utf-8")

    def do_cookie(self, path: str, count: int) -> None:
        self.answer((self.headers.get("Cookie") or "none").encode(), Set_Cookie="id=7")

    def do_moved(self, path: str, count: int) -> None:
        hops = int(path.split("/")[2])
        self.answer(b"", 302, Location=f"/moved/{hops - 1}" if hops else "/good/moved")

    def do_to(self, path: str, count: int) -> None:
        self.answer(b"", 302, Location=path.removeprefix("/to/"))


@pytest.fixture
def site() -> Iterator[Crawled]:
    site = Crawled()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def quick() -> Fetch:
    """Settings for servers on loopback, without long waits."""
    bounds = {"timeout_s": 1.0, "max_time_s": 4.0, "max_mb": 1.0, "pause_s": 0.01, "max_pause_s": 2.0}
    return Fetch(allow_private=True, connections=8, tries=3, **bounds)
