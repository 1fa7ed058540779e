"""An endpoint on loopback that speaks OpenAI's chat completions, and misbehaves as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Response = tuple[int, dict[str, str], bytes]


class Server:
    """``script``: caption -> what each of its requests gets in turn (the last again and again), as (status, headers,
    body)."""

    def __init__(self) -> None:
        self.script: dict[str, list[Response]] = {}
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.delay_s = 0.0
        self.busy = self.most_busy = 0
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                caption = request["messages"][1]["content"].removeprefix("<caption>").removesuffix("</caption>")
                with lock:
                    server.requests.append((self.path, request, dict(self.headers)))
                    server.busy += 1
                    server.most_busy = max(server.busy, server.most_busy)
                    turns = server.script.get(caption, [server.good(f"A {caption}.")])
                    status, headers, body = turns.pop(0) if len(turns) > 1 else turns[0]
                time.sleep(server.delay_s)
                with lock:
                    server.busy -= 1
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                with contextlib.suppress(ConnectionError):  # the client has given up
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/v1"

    @staticmethod
    def good(text: object, finish: str = "stop") -> Response:
        """A whole answer."""
        body = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]}
        return 200, {}, json.dumps(body).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()
