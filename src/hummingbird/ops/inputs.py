"""Which data a stage reads, for MLflow: each dependency that is no code, with the hash that DVC knows it by and the
stage that made it, so that a run leads to the very bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from hummingbird.ops import snapshot
from hummingbird.ops.dvc_project import remote_url

DIGEST = 36  # characters, MLflow's limit: an MD5 with DVC's ".dir"
CODE = ("src/", "evaluation/", "flows/")


def data_sets(root: Path, stage: str, seen: snapshot.Snapshot) -> list[dict[str, str]]:
    """MLflow's data sets for what ``stage`` reads: name, digest and source.

    The digest of what another stage made is its MD5 in ``dvc.lock``, that of anything else the hash of the
    fingerprints in ``seen``.
    """
    made = _made(root)
    remote = remote_url(root)
    found = []
    for path in snapshot.paths(snapshot.declared(root, stage).get("deps", [])):
        if path.startswith(CODE) or path.endswith(".py"):
            continue
        out = next((out for out in made if path == out or path.startswith(f"{out}/")), None)
        if out is not None:
            maker, md5 = made[out]
            source = {"stage": maker, "out": out, "md5": md5, **({"remote": _object(remote, md5)} if remote else {})}
            kind, digest = "dvc", md5
        else:
            source, kind, digest = {"path": path}, "files", _digest(path, seen)
        found.append({"name": path, "digest": digest, "source_type": kind, "source": json.dumps(source)})
    return found


def _object(remote: str, md5: str) -> str:
    """Address of the object with a hash in a DVC remote."""
    return f"{remote.rstrip('/')}/files/md5/{md5[:2]}/{md5[2:]}"


def _made(root: Path) -> dict[str, tuple[str, str]]:
    """Stage and hash of everything that stages made, by path, as ``dvc.lock`` has them."""
    return {
        out["path"]: (stage, out["md5"])
        for stage, entry in snapshot.stages_in(root / "dvc.lock").items()
        for out in entry.get("outs", [])
        if "md5" in out
    }


def _digest(path: str, seen: snapshot.Snapshot) -> str:
    below = {name: value for name, value in seen.items() if name == path or name.startswith(f"{path}/")}
    return hashlib.sha256(json.dumps(below, sort_keys=True).encode()).hexdigest()[:DIGEST]
