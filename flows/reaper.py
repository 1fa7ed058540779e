"""Ends what a killed run left behind in Prefect: its flow run, which would stay "Running" (Prefect issue 16746).

A run has a file in ``.work/flows``, touched every half minute, until Prefect knows how it ended. The next run in the
folder looks at these files, and marks the flow run of each dead one as crashed.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from hummingbird.files import read_json, write_json
from hummingbird.ops.services.processes import Started

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

FOLDER = ".work/flows"
BEAT = 30.0  # seconds between signs of life
OLD = 10 * BEAT  # a run on another machine is dead if it gave no sign for so long


@contextmanager
def alive(root: Path, flow_run: str) -> Iterator[None]:
    """Give signs of life of a flow run while the block runs. The last one stays: Prefect is yet to be told the end,
    and may be away by then (see :func:`forget`)."""
    path = _sign(root, flow_run)
    me = psutil.Process()
    write_json(path, {"host": platform.node(), "pid": me.pid, "started": me.create_time()})
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, over), daemon=True)
    beat.start()
    try:
        yield
    finally:
        over.set()
        beat.join()


def forget(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Remove the sign of life of a run in the current folder: a hook for states that Prefect has taken as its end."""
    _sign(Path(), str(flow_run.id)).unlink(missing_ok=True)


def _sign(root: Path, flow_run: str) -> Path:
    return root / FOLDER / f"{flow_run}.json"


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        if path.exists():
            os.utime(path)


def reap(root: Path, client: SyncPrefectClient) -> list[str]:
    """Mark the flow runs of dead processes as crashed, and forget them. Returns their names."""
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    reaped = []
    for path in sorted((root / FOLDER).glob("*.json")):
        if _lives(path):
            continue
        try:
            run = client.read_flow_run(path.stem)  # type: ignore[arg-type]  # it takes text as well
            if run.state is not None and not run.state.is_final():
                why = "its process is gone: it was killed, or its machine went down"
                client.set_flow_run_state(run.id, Crashed(message=why), force=True)
                reaped.append(run.name)
        except ObjectNotFound:  # of another server
            pass
        path.unlink(missing_ok=True)
    return reaped


def _lives(path: Path) -> bool:
    try:
        sign = read_json(path)
        if sign.get("host") != platform.node():
            return time.time() - path.stat().st_mtime < OLD
        return Started(sign["pid"], float(sign["started"])).process() is not None
    except (json.JSONDecodeError, KeyError, FileNotFoundError):
        return False
