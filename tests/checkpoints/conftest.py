"""A web server on loopback that can do what real ones do to a download, and an empty store."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hummingbird.checkpoints import sources, transfer
from hummingbird.checkpoints.store import Store
from hummingbird.streams import bucket


@dataclass
class Site:
    """What the server serves, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # the next answers break off after so many bytes
    statuses: list[int] = field(default_factory=list)  # the next answers have these codes
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the hub: name -> what its API says
    ranges: bool = True
    if_range: bool = True  # False: a range is served even if the file has changed
    tags: bool = True
    lengths: bool = True
    kind: str = "application/octet-stream"
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    authorisation: list[str | None] = field(default_factory=list)

    def tag(self, path: str) -> str:
        return f'"{hashlib.sha1(self.files[path]).hexdigest()}"'

    def add_repository(self, name: str, files: dict[str, bytes], commit: str = "c0ffee" * 6 + "1234") -> str:
        """Publish a hub repository with one commit; returns it."""
        siblings = []
        for path, data in files.items():
            self.files[f"/{name}/resolve/{commit}/{path}"] = data
            large = path.endswith((".pt", ".pth", ".safetensors"))
            lfs = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 1}
            siblings.append({"rfilename": path, "size": len(data), **({"lfs": lfs} if large else {})})
        self.repositories[name] = {"id": name, "sha": commit, "siblings": siblings}
        return commit


class Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        site, path = self.site, self.path.split("?")[0]
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            return self._repository(match[1], match[2])
        asked = self.headers.get("Range")
        site.asked.append((path, asked))
        site.authorisation.append(self.headers.get("Authorization"))
        status = site.statuses.pop(0) if site.statuses else 200
        if path not in site.files or status != 200:
            return self._answer(status if status != 200 else 404, {}, b"")
        data, start = site.files[path], 0
        headers = {"Content-Type": site.kind} | ({"ETag": site.tag(path)} if site.tags else {})
        condition = self.headers.get("If-Range")
        fresh = condition is None or condition == headers.get("ETag") or not site.if_range
        if asked and site.ranges and fresh:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return self._answer(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = site.cuts.pop(0) if site.cuts else None
        self._answer(206 if "Content-Range" in headers else 200, headers, data[start:], cut)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.site.lengths or status >= 400:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _repository(self, name: str, revision: str) -> None:
        info = self.site.repositories.get(name)
        if info is None:
            return self._answer(404, {"X-Error-Code": "RepoNotFound"}, b"{}")
        if revision not in ("main", info["sha"]):
            return self._answer(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        if info.get("gated"):
            return self._answer(403, {"X-Error-Code": "GatedRepo"}, b"{}")
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(info).encode())


@pytest.fixture
def site() -> Iterator[Site]:
    """A running server; empty."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _small_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 1 KiB and no pauses, so that files of some KiB take many pieces."""
    for module in (bucket, sources, transfer):
        monkeypatch.setattr(module, "CHUNK", 1024)
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store in an empty DVC project, which is the current folder."""
    from dvc.repo import Repo

    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "dvc-global"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site"))
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    Repo.init(str(project), no_scm=True).close()
    return Store()
