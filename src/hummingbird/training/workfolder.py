"""The folder in which a stage keeps its checkpoints, one for each configuration."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hummingbird.errors import UserError
from hummingbird.files import read_json, write_json
from hummingbird.layout import Layout
from hummingbird.training import processes

SETTINGS = "settings.json"
OTHER_SETTINGS = "HUMMINGBIRD_OTHER_SETTINGS"


def config_key(*parts: Any) -> str:
    """Short hash of a configuration; names the work folder, so that other settings never resume each other."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def open_work(layout: Layout, stage: str, settings: Mapping[str, Any]) -> Path:
    """The work folder of ``stage`` for ``settings``, which name everything that shapes its checkpoints.

    Where an unfinished training with other settings is found, it is refused, so that nobody loses days of work by an
    edited parameter. The environment variable :data:`OTHER_SETTINGS`, which `hummingbird stage --other-settings` sets,
    says otherwise for one run: ``restart`` deletes what is unfinished of the stage, with these settings too,
    ``continue`` goes on from it with the new settings. A training stays when it is done: the stage runner deletes it
    when it accepts what was made, and where it refuses, nothing has to be trained again once the cause is mended.

    Raises:
        UserError: such a training was found. The differences are named.
    """
    work = layout.work(stage, config_key(settings))
    if processes.is_main():
        _settle(stage, work, settings, os.environ.get(OTHER_SETTINGS, ""))
        write_json(work / SETTINGS, dict(settings))
    return processes.as_main(work)


def _settle(stage: str, work: Path, settings: Mapping[str, Any], wish: str) -> None:
    """Make ``work`` the only unfinished training of a stage, as is wished."""
    others = [folder for folder in _unfinished(work.parent) if folder != work]
    if wish == "restart":
        for folder in [*others, work]:
            shutil.rmtree(folder, ignore_errors=True)
    elif others and wish == "continue":
        if work in _unfinished(work.parent):
            raise UserError(
                f"there are unfinished trainings of {stage} with these settings, {work}, and with others, {others[-1]}",
                "delete the one that is not to go on",
            )
        shutil.rmtree(work, ignore_errors=True)
        others[-1].rename(work)
    elif others:
        raise _refusal(stage, others[-1], settings)


def _unfinished(parent: Path) -> list[Path]:
    """Folders that hold checkpoints, the one used last at the end."""
    folders = {
        path.parent if path.parent.parent == parent else path.parent.parent for path in parent.rglob("step_*.pt")
    }
    return sorted(folders, key=lambda folder: folder.stat().st_mtime)


def _refusal(stage: str, folder: Path, settings: Mapping[str, Any]) -> UserError:
    now, then = dict(_leaves(json.loads(json.dumps(settings)))), dict(_leaves(read_json(folder / SETTINGS)))
    changed = [
        f"{name}: {then.get(name)} before, {now.get(name)} now"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    ]
    listed = "\n  ".join(changed[:10])
    return UserError(
        f"an unfinished training of {stage} with other settings lies in {folder}:\n  {listed}",
        "put the settings back to go on with it; or give the same command an environment variable, once: "
        f"{OTHER_SETTINGS}=restart deletes it and starts over, {OTHER_SETTINGS}=continue goes on from its weights with "
        "the new settings",
    )


def _leaves(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _leaves(value, f"{name}.{key}" if name else key)
    else:
        yield name, values
