"""Collects the evidence for a model of the chain from the project folder: reports, ``dvc.lock``, git and the gates."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from hummingbird.errors import UserError, did_you_mean
from hummingbird.files import read_json
from hummingbird.layout import Layout
from hummingbird.ops import gates, snapshot, tracking
from hummingbird.ops.checkout import UNTRACKED_CODE, git_tags
from hummingbird.ops.dvc_project import explained
from hummingbird.ops.history import LOCK, Lock
from hummingbird.ops.registry import evidence
from hummingbird.ops.registry.evidence import Evidence, Figure, Files, Latency, Provenance, Quality
from hummingbird.ops.registry.gates import UNKNOWN
from hummingbird.params import FigureName

MODELS = ("stage1", "stage2")  # stages that publish a pipeline folder
JUDGES = ("dover", "image_reward_eval", "probe", "video_reward_eval")  # folders of the foundation
_SHOWN = 5  # names in a sentence


def pipeline_folder(layout: Layout, model: str) -> Path:
    """The pipeline folder of a model.

    Raises:
        UserError: no such model, or the stage that makes it has not run.
    """
    if model not in MODELS:
        raise UserError(f"no model {model!r} to register; {did_you_mean(model, MODELS)}", "hummingbird register --help")
    folder = (layout.stage1 if model == "stage1" else layout.stage2) / "pipeline"
    if not (folder / "model_index.json").is_file():
        raise UserError(f"there is no model at {folder}", f"make it: dvc repro {model}; or fetch it: dvc pull")
    return folder


def gather(layout: Layout, model: str) -> Evidence:
    """All that the gates will ask of ``model``, as things are now.

    Raises:
        UserError: no such model; or what was found of it cannot be read.
    """
    folder = pipeline_folder(layout, model)
    lock, stages = layout.root / LOCK, [model, "vbench", "latency"]
    if not lock.is_file():
        raise UserError(f"no {lock}: DVC does not know how the model was made", f"make it by DVC: dvc repro {model}")
    record = read_json(tracking.record_path(layout, model))  # it has the key only, if MLflow was away
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return Evidence(
        model=model,
        producer_run_id=record.get("run_id") or record.get("run_key") or UNKNOWN,
        files=Files(md5=_md5_of(lock, folder.parent, layout.root), count=len(sizes), size=sum(sizes)),
        quality=_quality(layout, model),
        latency=_latency(layout, model),
        provenance=Provenance(
            commit=git_tags(layout.root)["git.sha"],
            lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest(),
            git=_git(layout.root, lock, stages),
            **_dvc(layout.root, stages),
            gates=_gates(layout),
        ),
    )


def _md5_of(lock: Path, path: Path, root: Path) -> str:
    wanted = path.relative_to(root).as_posix()
    made = [out for entry in snapshot.stages_in(lock).values() for out in entry.get("outs", [])]
    found = [out.get("md5") for out in made if out["path"] == wanted]
    return str(found[0]) if found else UNKNOWN


def _quality(layout: Layout, model: str) -> Quality | None:
    """Figures with intervals: those of the comparison of all models, and VBench's total. None if not evaluated."""
    summary, result = (read_json(layout.vbench / f"{name}.json") for name in ("summary", model))
    figures = summary.get("models", {}).get(model)
    if figures is None or not result:
        return None
    from evaluation.vbench.interval import total_interval

    header, versions = summary["header"], result["header"]["metric_versions"]
    known = {
        name: Figure(value=figures[name], low=low, high=high)
        for name, (low, high) in sorted(figures["ci"].items())
        if name in get_args(FigureName)  # the others are no matter of more or less
    }
    total = total_interval(result)
    return Quality(
        mode=header["mode"],
        suite=header["prompts_sha256"],
        judges=_hash_of_judges(layout.foundation, versions),
        seeds=", ".join(map(str, header["seeds"])),
        n=figures["n"],
        figures=known | {"vbench_total": Figure(value=total.value, low=total.low, high=total.high)},
    )


def _hash_of_judges(foundation: Path, versions: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(versions.items())).encode())
    for file in sorted(file for name in JUDGES for file in (foundation / name).rglob("*") if file.is_file()):
        digest.update(file.relative_to(foundation).as_posix().encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _latency(layout: Layout, model: str) -> Latency | None:
    summary = read_json(layout.latency / "summary.json")
    timed = summary.get("models", {}).get(model)
    if timed is None:
        return None
    where, one = summary["conditions"], timed["batches"]["1"]
    return Latency(
        median_s=one["median_s"],
        p95_s=one["p95_s"],
        n=one["n"],
        device=where["device"],
        dtype=where["dtype"],
        threads=where["threads"],
        resolution="x".join(map(str, where["resolution"])),
        frames=where["frames"],
    )


def _git(root: Path, lock: Path, stages: list[str]) -> str:
    """Whether the project is as committed, with its ``dvc.lock``: no tracked file changed, no code that git does not
    know, the code that ``stages`` and those they need ran is the commit's, and others can fetch the commit."""
    try:
        commit = _ask_git(root, "rev-parse", "HEAD").strip()
        changed = [line[3:] for line in _ask_git(root, "status", "--porcelain", "--untracked-files=no").splitlines()]
        unknown = _ask_git(root, *UNTRACKED_CODE).splitlines()
        tracked = _ask_git(root, "ls-files", LOCK)
        published = _ask_git(root, "branch", "--remotes", "--contains", commit)
    except (OSError, subprocess.SubprocessError) as error:
        return f"cannot be asked: {error}"
    known = Lock(root, commit, commit, lock.read_text())
    other = known.changed_code([name for it in stages if it in known.stages for name in known.upstream(it)])
    wrong = (
        f"{_some(changed)} not as committed" if changed else "",
        f"{_some(unknown)} unknown to git" if unknown else "",
        f"{_some(other)} not what {LOCK} says was run" if other and not changed else "",
        "" if tracked else f"{LOCK} is not committed",
        "" if published else "the commit is on no branch of a git remote: git push",
    )
    return "; ".join(filter(None, wrong)) or evidence.CLEAN


def _ask_git(root: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def _dvc(root: Path, stages: list[str]) -> dict[str, str]:
    """Whether ``stages``, and those they need, are as recorded, and whether the remote has their outputs."""
    from dvc.config import NoRemoteError
    from dvc.repo import Repo

    targets = [f"{root / 'dvc.yaml'}:{stage}" for stage in stages]
    with explained(), Repo(str(root)) as repo:
        stale = sorted(name.rpartition(":")[-1] for name in repo.status(targets=targets, with_deps=True))
        told = {"stages": f"{_some(stale)} not as recorded" if stale else evidence.UP_TO_DATE}
        try:
            away = repo.status(targets=targets, with_deps=True, cloud=True)
            lacking = sorted(name for name, state in away.items() if state != "deleted")  # deleted: here only
            told["data"] = f"{_some(lacking)} not in the remote" if lacking else evidence.PUSHED
        except NoRemoteError:
            told["data"] = "there is no DVC remote"
        except Exception as error:  # each kind of storage has its own
            told["data"] = f"the remote cannot be asked: {error}"
        return told


def _gates(layout: Layout) -> str:
    """Check every table again, as it lies here now."""
    failed = []
    for stage in gates.WRITES:
        try:
            gates.check(stage, layout)
        except UserError as error:
            failed.append(f"{stage}: {error.problem.splitlines()[0]}")
    return "; ".join(failed) or evidence.GREEN


def _some(names: list[str]) -> str:
    """``a, b and 3 more are``, or ``a is``."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more} {'are' if len(names) > 1 else 'is'}"
