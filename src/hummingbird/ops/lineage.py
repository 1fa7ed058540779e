"""Where a video, a model version or a run comes from: every link back to the commit and the source of the data.

A chain is read from what was written when things were made: the facts in a video, ``dvc.lock`` through git's history,
the stages' records (``reports/runs``), and MLflow. A link that cannot be found is shown as missing, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from hummingbird import provenance
from hummingbird.data.mp4_tags import read_facts
from hummingbird.data.video_io import VideoError
from hummingbird.errors import UserError
from hummingbird.ops.delivery import KEY
from hummingbird.ops.history import Lock, read_output, read_record, with_outputs, with_record
from hummingbird.ops.records import Records, open_records

_UNKNOWN = "unknown"  # a tag whose value was not known when it was written
_SOURCE = {  # stage that brings something in -> its parameters that say from where
    "download": ("source", "format", "csv", "clips", "world_seed"),
    "foundation": ("mode", "source", "checkpoints"),
}


@dataclass(frozen=True)
class Link:
    """One thing in a chain and what it comes from. ``missing`` says what could not be found out about it, and why."""

    kind: str
    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    missing: str = ""
    below: tuple[Link, ...] = ()

    def gaps(self) -> list[Link]:
        """The links of the chain in which something is missing."""
        return [*([self] if self.missing else []), *(gap for link in self.below for gap in link.gaps())]


@dataclass(frozen=True)
class Chain:
    """A lineage; ``lock`` and ``stages`` (in order) are what made it, as far as they are known, ``facts`` those of the
    video, if it is one."""

    link: Link
    lock: Lock | None
    stages: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def trace(subject: str, root: Path) -> Chain:
    """The lineage of a video (path), an MLflow run (id) or a model version (``3``, ``champion``, ``NAME/3``, ...).

    Raises:
        UserError: there is no such thing, or it says nothing of where it comes from.
    """
    records = open_records(root)
    if Path(subject).suffix.lower() == ".mp4" or Path(subject).is_file():
        return _of_video(Path(subject), root, records)
    if re.fullmatch("[0-9a-f]{32}", subject):
        return _of_run(subject, root, records)
    return _of_version(subject, root, records)


def _of_video(file: Path, root: Path, records: Records) -> Chain:
    if not file.is_file():
        raise UserError(f"there is no file {file}", "check the path")
    try:
        facts = read_facts(file)
    except VideoError as error:
        raise UserError(f"{file} {error}", "name an MP4 file that hummingbird generate wrote") from error
    weights, code = facts.get("weights"), facts.get("code", {})
    if not _names_hashes(weights) or not isinstance(code, dict):
        raise UserError(
            f"{file} does not say what made it",
            "name a video that hummingbird generate wrote, unchanged by other tools",
        )
    made = {path: md5 for path, md5 in weights.items() if path.startswith("artifacts/")}
    lock = with_outputs(root, made, code.get("commit"))
    below = []
    if others := sorted(weights.keys() - made.keys()):
        below += [Link("weights", path, {"md5": weights[path]}, "not made by this pipeline") for path in others]
    stages = _stages(lock, [lock.maker(path) for path in made] if lock else [])
    missing = "" if lock or not made else _no_lock(", ".join(made))
    below += _links(lock, stages, made, root, records)
    if code.get("dirty"):
        missing = "; ".join(filter(None, [missing, "tracked files differed from the commit when it was made"]))
    told = {name: value for name, value in facts.items() if name not in ("weights", "runs", "code")}
    return Chain(Link("sample", file.name, told, missing, tuple(below)), lock, stages, facts)


def _names_hashes(weights: Any) -> TypeGuard[dict[str, str]]:
    """Whether the ``weights`` of a video are path -> hash: the file may be anybody's."""
    return isinstance(weights, dict) and bool(weights) and all(isinstance(md5, str) for md5 in weights.values())


def _of_run(run_id: str, root: Path, records: Records) -> Chain:
    found = records.run(run_id)
    if found is None:
        problem = records.problem or "it may belong to another tracking server"
        raise UserError(f"MLflow has no run {run_id} ({problem})", "see MLFLOW_TRACKING_URI; the ids are in: mlflow ui")
    tags = found["tags"]
    if tags.get("cached") == "true" and (producer := _first(tags, "producer_run_id", "producer_run_key")):
        chain = _of_run(producer, root, records)
        link = Link("run", run_id, {"stage": tags.get("stage"), "state": "restored"}, "", (chain.link,))
        return Chain(link, chain.lock, chain.stages)
    stage = tags.get("stage")
    if stage is None:
        return _of_parent(run_id, found, root, records)
    lock = with_record(root, stage, {found["id"], tags.get(KEY, "")}, tags.get("git.sha"))
    stages = _stages(lock, [stage])
    missing = "" if lock else f"{_no_lock(f'run {run_id}')}; or its record is not in DVC's cache: dvc fetch {stage}"
    link = Link("run", run_id, _told(found), missing, tuple(_links(lock, stages, _outputs(lock, stage), root, records)))
    return Chain(link, lock, stages)


def _of_parent(run_id: str, found: dict[str, Any], root: Path, records: Records) -> Chain:
    """A run of the pipeline: the chain of the last stage of it."""
    chains = [_of_run(child, root, records) for child in records.children(run_id)]
    if not chains:
        raise UserError(f"run {run_id} ({found['name']}) is no run of the pipeline", "name the run of a stage")
    last = max(chains, key=lambda chain: len(chain.stages))
    return Chain(Link("run", run_id, _told(found), "", (last.link,)), last.lock, last.stages)


def _of_version(text: str, root: Path, records: Records) -> Chain:
    """By the run that made it; where that leads nowhere, by the hash of the files and the commit that were registered
    with it."""
    version = records.version(text)
    tags: dict[str, str] = version["tags"]
    name = f"{version['model']} {version['version']}"
    facts = {"aliases": version["aliases"], "model": tags.get("model")}
    run_id = _first(tags, "producer_run_id") if "producer_run_id" in tags else version["run_id"]
    below = _of_run(run_id, root, records) if run_id and records.run(run_id) else None
    if below is not None and below.lock is not None:
        return Chain(Link("model version", name, facts, "", (below.link,)), below.lock, below.stages)
    missing = (
        "" if below else f"MLflow has no run {run_id} that made it" if run_id else "the run that made it is not known"
    )
    made = {f"artifacts/{facts['model']}": md5} if (md5 := _first(tags, "files.md5")) else {}
    lock = with_outputs(root, made, tags.get("provenance.commit"))
    stages = _stages(lock, [lock.maker(path) for path in made] if lock else [])
    links = (*([below.link] if below else []), *_links(lock, stages, made, root, records))
    return Chain(Link("model version", name, facts, missing, links), lock, stages)


def _first(tags: Mapping[str, str], *names: str) -> str:
    """The first of the tags ``names`` that says something; empty if none does."""
    return next((tags[name] for name in names if tags.get(name, _UNKNOWN) not in ("", _UNKNOWN)), "")


def _stages(lock: Lock | None, makers: list[str | None]) -> tuple[str, ...]:
    """``makers`` and all that they need, in order."""
    if lock is None:
        return ()
    return tuple(dict.fromkeys(it for maker in makers if maker in lock.stages for it in lock.upstream(str(maker))))


def _outputs(lock: Lock | None, stage: str) -> dict[str, str]:
    made = lock.outputs(stage) if lock and stage in lock.stages else {}
    return {path: md5 for path, md5 in made.items() if path.startswith("artifacts/")}


def _no_lock(what: str) -> str:
    return f"no commit's dvc.lock, nor the one here, knows {what}: commit dvc.lock after runs; git fetch --all"


def _links(
    lock: Lock | None, stages: tuple[str, ...], weights: Mapping[str, str], root: Path, records: Records
) -> list[Link]:
    """What is below a sample or a run, from the model down to the commit."""
    if lock is None:
        return []
    made_by = {stage: read_record(root, f"reports/runs/{stage}.json", _record(lock, stage)) for stage in stages}
    found = []
    for path, md5 in weights.items():
        stage = lock.maker(path) or ""
        below = [*_versions(md5, made_by.get(stage, {}), records)]
        found.append(Link("weights", path, {"md5": md5, "stage": stage}, "", tuple(below)))
    found += [_stage(lock, stage, made_by[stage], records) for stage in reversed(stages)]
    return [*found, *_data(lock, stages), *_sources(lock, stages), _commit(lock, list(stages))]


def _record(lock: Lock, stage: str) -> str:
    return lock.outputs(stage).get(f"reports/runs/{stage}.json", "")


def _versions(md5: str, record: Mapping[str, Any], records: Records) -> Iterator[Link]:
    found = records.versions([md5], [record.get("run_id"), record.get("run_key")])
    for it in found:
        yield Link("model version", f"{it['model']} {it['version']}", {"aliases": it["aliases"]})
    if not found:
        yield Link("model version", "none", {}, records.problem or "these weights were not registered")


def _stage(lock: Lock, stage: str, record: dict[str, Any], records: Records) -> Link:
    facts: dict[str, Any] = {"hash": record.get("dvc.stage_hash"), "params": lock.params(stage)}
    facts["made"] = {path: md5 for path, md5 in lock.outputs(stage).items() if not path.startswith("reports/")}
    broken = [f"it read {path} as {was}, which is {now} by now" for path, (was, now) in lock.broken(stage).items()]
    return Link("stage", stage, facts, "; ".join(broken), (_run(record, stage, records),))


def _run(record: dict[str, Any], stage: str, records: Records) -> Link:
    if not record:
        return Link("run", "unknown", {}, f"reports/runs/{stage}.json is not in DVC's cache: dvc fetch {stage}")
    run_id = record.get("run_id") or record.get("run_key") or "unknown"
    found = records.run(run_id)
    parent = record.get("parent_run_id")
    facts = _told(found) if found else {"commit": record.get("git.sha"), "dirty": record.get("git.dirty")}
    below = (Link("run", parent, {"of": "the pipeline"}),) if parent else ()
    return Link("run", run_id, facts, "" if found else records.problem or "not on this MLflow server", below)


def _told(found: dict[str, Any]) -> dict[str, Any]:
    tags = found["tags"]
    facts = {"name": found["name"], "state": found["state"], "started": found["started"]}
    return {**facts, "commit": tags.get("git.sha"), "dirty": tags.get("git.dirty")}


def _data(lock: Lock, stages: tuple[str, ...]) -> Iterator[Link]:
    """The clip tables, last one first."""
    for stage in reversed(stages):
        for path, md5 in lock.outputs(stage).items():
            if not path.startswith("data/") or not md5.endswith(".dir"):
                continue
            listing = read_output(lock.root, path, md5)
            if listing is None:
                yield Link("data", path, {"md5": md5}, f"its list of files is not in DVC's cache: dvc fetch {stage}")
                continue
            table = next((it["md5"] for it in json.loads(listing) if it["relpath"] == "clips.parquet"), None)
            if table:
                yield Link("data table", f"{path}/clips.parquet", {"md5": table, "folder": md5})


def _sources(lock: Lock, stages: tuple[str, ...]) -> Iterator[Link]:
    for stage, names in _SOURCE.items():
        if stage in stages:
            given = lock.params(stage).get(stage, {})
            facts = {name: given[name] for name in names if given.get(name) is not None}
            source = str(facts.get("source", "unknown"))
            facts["md5"] = next((md5 for path, md5 in lock.needs(stage).items() if path == source), None)
            yield Link("source", source, {"of": stage, **{name: value for name, value in facts.items() if value}})


def _commit(lock: Lock, stages: list[str]) -> Link:
    if lock.code is None:
        return Link("commit", "none", {}, "this project is in no git repository")
    said = provenance.git(lock.root, "show", "-s", "--format=%s%n%cI", "--end-of-options", lock.code)
    if said is None:
        return Link("commit", lock.code, {}, "it is not in this repository: git fetch --all")
    subject, _, when = said.rpartition("\n")
    facts = {"subject": subject, "when": when, "dvc.lock": lock.commit or "not committed"}
    problems = [] if lock.commit else ["dvc.lock is not committed: git add dvc.lock && git commit"]
    if other := lock.changed_code(stages):
        shown = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
        problems.append(f"the stages ran other code than this commit has: {shown}")
    return Link("commit", lock.code, facts, "; ".join(problems))
