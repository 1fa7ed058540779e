"""``hummingbird miniature train``: make the miniature's foundation checkpoints from nothing.

The order matters only for the teacher, which needs the VAE and the text encoder. Every part has its own seed, so that
the rewards used for evaluation share neither data nor initial weights with those used for training.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

from hummingbird.errors import UserError, did_you_mean
from hummingbird.models.checkpoints import write_manifest
from hummingbird.runlog import RunLog

Figures = dict[str, float]
#: (folder to write to, seed, budget, folder for checkpoints, log) -> what was measured
Part = Callable[[Path, int, float, Path, RunLog], Figures]


def _vae(out: Path, seed: int, budget: float, work: Path, log: RunLog) -> Figures:
    from hummingbird.miniature import vae

    return vae.train(out / "vae", seed=seed, budget=budget, work=work, log=log)


def _text_encoder(out: Path, seed: int, budget: float, work: Path, log: RunLog) -> Figures:
    from hummingbird.miniature import text_encoder

    return text_encoder.train(out, seed=seed, budget=budget, work=work, log=log)


def _teacher(out: Path, seed: int, budget: float, work: Path, log: RunLog) -> Figures:
    from hummingbird.miniature import teacher

    return teacher.train(out, seed=seed, budget=budget, work=work, log=log)


def _reward(name: str) -> Part:
    def train(out: Path, seed: int, budget: float, work: Path, log: RunLog) -> Figures:
        from hummingbird.miniature import rewards

        kind: rewards.Kind = "image" if name.startswith("image") else "video"
        return rewards.train(
            out / name, seed=seed, budget=budget, work=work, log=log, kind=kind, held_out_model=name.endswith("_eval")
        )

    return train


def _dover(out: Path, seed: int, budget: float, work: Path, log: RunLog) -> Figures:
    from hummingbird.miniature import dover

    return dover.train(out / "dover", seed=seed, budget=budget, work=work, log=log)


def _recaptioner(out: Path, seed: int, budget: float, work: Path, log: RunLog) -> Figures:
    from hummingbird.miniature import recaptioner

    return recaptioner.train(out / "recaptioner", seed=seed, budget=budget, work=work, log=log)


def _probe(out: Path, seed: int, budget: float, work: Path, log: RunLog) -> Figures:
    from hummingbird.miniature import probe

    return probe.train(out / "probe", seed=seed, budget=budget, work=work, log=log)


#: name -> (how it is made, seed)
PARTS: dict[str, tuple[Part, int]] = {
    "vae": (_vae, 100),
    "text_encoder": (_text_encoder, 50),
    "teacher": (_teacher, 200),
    "image_reward": (_reward("image_reward"), 101),
    "video_reward": (_reward("video_reward"), 102),
    "image_reward_eval": (_reward("image_reward_eval"), 201),
    "video_reward_eval": (_reward("video_reward_eval"), 202),
    "dover": (_dover, 300),
    "recaptioner": (_recaptioner, 3),
    "probe": (_probe, 500),
}


def train_all(
    out: Path,
    *,
    only: list[str] | None = None,
    seed: int = 0,
    budget: float = 1.0,
    work: Path | None = None,
    log: RunLog,
) -> dict[str, Figures]:
    """Train all parts, or those named in ``only``, into ``out``; then write its manifest and ``PROVENANCE.md``.

    A part that was interrupted goes on from its checkpoint when called again.

    Args:
        seed: added to every part's own seed.
        budget: multiplies every number of steps (1.0 made the shipped checkpoints).
        work: folder for checkpoints; none = ``.work`` in ``out``.

    Raises:
        UserError: a name in ``only`` is not a part.
    """
    for name in only or []:
        if name not in PARTS:
            raise UserError(f"no part {name!r} in the miniature", did_you_mean(name, PARTS))
    made: dict[str, Figures] = {}
    for name, (part, own_seed) in PARTS.items():
        if only and name not in only:
            continue
        start, commit = time.monotonic(), _commit()
        figures = part(out, own_seed + seed, budget, work or out / ".work", log)
        made[name] = figures
        seconds = time.monotonic() - start
        _record(out, name, figures, commit=commit, seed=own_seed + seed, budget=budget, wall_s=seconds)
    write_manifest(out)
    _write_provenance(out)
    return made


def _record(out: Path, name: str, figures: Figures, *, commit: str, seed: int, budget: float, wall_s: float) -> None:
    """``commit`` is that at the start of the training: the tree may move on while it runs."""
    entry = {
        "command": f"hummingbird miniature train --only {name} --budget {budget}",
        "commit": commit,
        "seed": seed,
        "budget": budget,
        "hardware": f"{_processor()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "wall_s": round(wall_s, 1),
        "figures": {key: round(value, 4) for key, value in figures.items()},
    }
    path = out / "provenance" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry, indent=1) + "\n")


def _write_provenance(out: Path) -> None:
    lines = [
        "# Provenance of the miniature checkpoints",
        "",
        "Made by this project from its own generated world (`data/world.py`): no outside data or weights.",
        "`manifest.json` holds the sha256 of every file. Written by `hummingbird miniature train`; do not edit.",
        "",
    ]
    for path in sorted((out / "provenance").glob("*.json")):
        entry = json.loads(path.read_text())
        lines += [f"## {path.stem}", ""]
        lines += [f"- {key}: {entry[key]}" for key in ("command", "commit", "seed", "hardware", "torch", "wall_s")]
        lines += [f"- note: {entry['note']}"] if "note" in entry else []
        lines += [f"- {key}: {value}" for key, value in entry["figures"].items()]
        lines.append("")
    (out / "PROVENANCE.md").write_text("\n".join(lines))


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "not in a git checkout"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({os.cpu_count()} cores)"
