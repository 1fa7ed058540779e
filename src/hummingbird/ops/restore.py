"""An older state of the project in a folder of its own: code, parameters, data and models exactly as they were.

Code and parameters come from git (a worktree), what DVC keeps from its remote, or from the local cache if the remote
cannot give it; every output is then hashed and compared with ``dvc.lock``. It works, or nothing is left behind.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hummingbird import provenance
from hummingbird.errors import UserError
from hummingbird.ops import dvc_project
from hummingbird.ops.history import LOCK, Lock
from hummingbird.ops.lineage import Chain

_OPTIONS = (  # facts of a video -> options of `hummingbird generate`, in order
    *("model", "seed", "steps", "frames", "guidance", "scale", "decoder", "negative"),
    *("negative_embedding", "fit_negative", "lora", "lora_scale"),
)


@dataclass(frozen=True)
class Restored:
    """``commit`` of the code, ``source`` of the data (in words), how many ``outputs`` were compared, the ``command``
    that makes the video again (empty for other things), and ``notes`` on what may differ."""

    commit: str
    source: str
    outputs: int
    command: str
    notes: tuple[str, ...]


def restore(chain: Chain, folder: Path, *, models_only: bool = False) -> Restored:
    """Restore what made ``chain`` into ``folder``.

    Args:
        models_only: leave out the data and the models that only earlier stages needed.

    Raises:
        UserError: ``folder`` is in use, the chain does not reach a commit that holds its ``dvc.lock``, the commit is
            not here, or neither the remote nor the cache has all objects; then nothing is left behind.
    """
    lock = _committed(chain)
    code = lock.code or ""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty", "name a new folder")
    stages = _makers(chain, lock) if models_only else list(chain.stages)
    _git(lock.root, "worktree", "add", "--force", "--detach", "--end-of-options", str(folder.absolute()), code)
    try:
        (folder / LOCK).write_text(f"{lock.text.rstrip()}\n")
        _copy_settings(lock.root, folder)
        source = _bring(lock.root, folder, stages)
        count = _verify(lock, stages, folder)
    except BaseException:
        provenance.git(lock.root, "worktree", "remove", "--force", str(folder.absolute()))
        raise
    return Restored(code, source, count, command(chain.facts, folder) if chain.facts else "", _notes(chain, lock))


def command(facts: Mapping[str, Any], folder: Path) -> str:
    """What to type to make a video again in ``folder``, with the code that is there."""
    words = []
    for name in _OPTIONS:
        value = facts.get(name)
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, dict):
            words += [option, str(Path(value["file"]).absolute())]
        elif value is not None:
            words += [option, str(value)]
    asked = shlex.join(["-m", "hummingbird", "generate", facts["prompt"], *words, "--out", "again.mp4"])
    return f"cd {shlex.quote(str(folder))} && PYTHONPATH=src:. python {asked}"


def _committed(chain: Chain) -> Lock:
    lock = chain.lock
    if lock is None:
        gap = next(iter(chain.link.gaps()), chain.link)
        raise UserError(f"{chain.link.name} cannot be restored: {gap.missing}", "see the chain without --restore")
    if lock.commit is None or lock.code is None:
        raise UserError(
            f"{chain.link.name} cannot be restored: the dvc.lock that knows it is not committed",
            "git add dvc.lock && git commit, then dvc push",
        )
    return lock


def _makers(chain: Chain, lock: Lock) -> list[str]:
    """The stages that made the models which were used, not those that these needed."""
    used = {lock.maker(path) for path in chain.facts.get("weights", {})}
    return [stage for stage in chain.stages if stage in used] or list(chain.stages[-1:])


def _copy_settings(root: Path, folder: Path) -> None:
    """DVC's remotes as they are now, with what is not committed of them: a store may have moved since. Relative paths
    are written so that they lead to the same place; the file, which may hold credentials, is its owner's only."""
    from dvc.config import ConfigError, merge

    now = dvc_project.settings(root)
    file = folder / ".dvc/config.local"
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with dvc_project.settings(folder).edit("local") as settings:
            for level in ("repo", "local"):
                merge(settings, now.read(level))
    except ConfigError as error:
        raise UserError(f"DVC's settings do not go with those of then: {error}", "see: dvc config --list") from error


def _bring(root: Path, folder: Path, stages: Iterable[str]) -> str:
    """Fill ``folder`` with the outputs of ``stages``; says from where they came."""
    problem = "no remote is set (hummingbird storage init)"
    if remote := dvc_project.default_remote(folder):
        problem = _dvc(folder, "pull", *stages)
        if not problem:
            return f"DVC's remote {remote!r}"
    _dvc(folder, "cache", "dir", "--local", str(dvc_project.cache(root).resolve()))
    if failed := _dvc(folder, "checkout", "--force", *stages):
        raise UserError(
            f"the data is neither in DVC's remote ({problem}) nor in the local cache ({failed})",
            "dvc push where it was made; check the credentials of the remote",
        )
    return f"the local DVC cache, as the remote could not give it: {problem}"


def _verify(lock: Lock, stages: Iterable[str], folder: Path) -> int:
    """Compare every output that DVC keeps with its hash; returns how many there are."""
    in_git = set((provenance.git(folder, "ls-files", "reports") or "").splitlines())
    wanted = {path: md5 for stage in stages for path, md5 in lock.outputs(stage).items() if path not in in_git}
    for path, md5 in wanted.items():
        found = provenance.content_md5(folder / path, folder) if (folder / path).exists() else "nothing"
        if found != md5:
            raise UserError(
                f"{path} was not restored: its hash should be {md5}, but it is {found}",
                "the remote or the cache is damaged: dvc push again from where it was made",
            )
    return len(wanted)


def _notes(chain: Chain, lock: Lock) -> tuple[str, ...]:
    notes = []
    if chain.facts.get("code", {}).get("dirty"):
        notes.append("tracked files differed from the commit when the video was made: it may come out otherwise")
    if lock.commit != lock.code:
        notes.append(f"dvc.lock is that of commit {lock.commit}, where it was committed after the code had run")
    for name in ("lora", "negative_embedding"):
        if name in chain.facts:
            notes.append(f"{chain.facts[name]['file']} is no output of the pipeline: it must be there as it was")
    return tuple(notes)


def _git(root: Path, *words: str) -> None:
    no_hooks = ["-c", "core.hooksPath=/dev/null"]  # `dvc install` puts one there that would check out everything
    done = subprocess.run(["git", "-C", str(root), *no_hooks, *words], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"git says: {done.stderr.strip().splitlines()[-1]}", "git fetch --all, or name another folder")


def _dvc(folder: Path, *words: str) -> str:
    """Run DVC in ``folder``; the reason if it failed, else nothing."""
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or done.stderr.strip().splitlines() or ["it failed"])[-1].removeprefix("ERROR: ")[:300]
