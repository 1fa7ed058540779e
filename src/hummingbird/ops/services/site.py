"""What the services of one project remember between commands: ports, passwords and which processes were started."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.ops.services.processes import Started

HOST = "127.0.0.1"
LOCK_SECONDS = 1200.0  # a first start on a slow machine takes minutes


@dataclass(frozen=True)
class Site:
    """The services' folder of the project in ``root``."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root.absolute() / ".work/services"

    @property
    def state_path(self) -> Path:
        return self.folder / "state.json"

    def log(self, service: str) -> Path:
        return self.folder / "logs" / f"{service}.log"

    def state(self, service: str) -> dict[str, Any]:
        """What is known of ``service``: ``port``, and once it was started ``pid``, ``created``, ``mark`` and
        ``recipe``."""
        values: dict[str, Any] = read_json(self.state_path).get(service, {})
        return values

    def remember(self, service: str, **values: Any) -> None:
        """Add ``values`` to what is known of ``service``."""
        known = read_json(self.state_path)
        write_json(self.state_path, {**known, service: {**known.get(service, {}), **values}})

    def started(self, service: str) -> Started | None:
        """The process that was last started for ``service``, alive or not."""
        state = self.state(service)
        return Started(state["pid"], state["created"], state.get("mark", "")) if "pid" in state else None

    def is_running(self, service: str) -> bool:
        started = self.started(service)
        return started is not None and started.process() is not None

    def forget(self, service: str) -> None:
        """Note that ``service`` was stopped on purpose. Its port is kept for the next start."""
        known = read_json(self.state_path)
        port = known.get(service, {}).get("port")
        write_json(self.state_path, {**known, service: {} if port is None else {"port": port}})

    def port(self, service: str) -> int | None:
        """The port that was chosen for ``service``, if one was."""
        port: int | None = self.state(service).get("port")
        return port

    def choose_port(self, service: str, preferred: int) -> None:
        """Give ``service`` a port: the one it has, or had, unless another program took it; else a free one.

        The choice is written down, so that addresses stay what they were. Only within :meth:`locked`.
        """
        known = self.port(service)
        if known is not None and (self.is_running(service) or is_free(known)):
            return
        free = is_free(preferred) and preferred not in self._taken()
        self.remember(service, port=preferred if free else free_port())

    def _taken(self) -> set[int]:
        return {values["port"] for values in read_json(self.state_path).values() if "port" in values}

    def secret(self, name: str) -> str:
        """A password that :meth:`make_secret` has made.

        Raises:
            UserError: it is gone.
        """
        known = read_json(self._secrets)
        if name not in known:
            raise UserError(f"{self._secrets} has no password for {name}", "make one: hummingbird services start")
        return str(known[name])

    def make_secret(self, name: str) -> None:
        """Make a random password, once; the file that keeps it can be read by its owner only. Only within
        :meth:`locked`."""
        known = read_json(self._secrets)
        if name not in known:
            write_private(self._secrets, json.dumps({**known, name: secrets.token_hex(16)}, indent=2))

    @property
    def _secrets(self) -> Path:
        return self.folder / "secrets.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from starting or stopping services meanwhile.

        Raises:
            UserError: another command has been at it for :data:`LOCK_SECONDS`.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock", timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            raise UserError(
                f"another command has been starting or stopping services for {LOCK_SECONDS / 60:.0f} minutes",
                "see what it waits for: hummingbird services status",
            ) from error
        try:
            yield
        finally:
            lock.release()


def write_private(path: Path, text: str) -> None:
    """Write a file that is never readable by others, not even while it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    os.replace(part, path)


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
