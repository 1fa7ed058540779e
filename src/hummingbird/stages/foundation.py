"""Stage ``foundation``: fetch (or train, or convert) the teacher, the reward models and the helpers, all verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hummingbird.errors import UserError
from hummingbird.files import read_json
from hummingbird.layout import Layout
from hummingbird.models.checkpoints import MANIFEST, fetch_folder, verify_folder
from hummingbird.params import Foundation, Params
from hummingbird.runlog import RunLog

if TYPE_CHECKING:
    from hummingbird.models.convert.networks import Networks


def run(params: Params, layout: Layout, log: RunLog, networks: Networks | None = None) -> dict[str, float]:
    """Put every foundation model below ``layout.foundation``.

    ``fetch`` copies the folder ``foundation.source`` file by file against its manifest of sha256 sums; ``train`` makes
    the models from nothing; ``checkpoints`` converts the public ones of the store. A killed training or conversion goes
    on after its last finished model.

    Args:
        networks: what the public checkpoints hold; none = the published networks.

    Raises:
        UserError: the source or a file of it is missing, a file is not what its manifest or its name says, or the disk
            is full. What was there stays.
    """
    settings = params.foundation
    if settings.mode == "checkpoints":
        files = _convert(settings, layout, log, networks)
    elif settings.mode == "train":
        from hummingbird.miniature.train import train_all

        work = layout.work("foundation", "training")
        train_all(layout.foundation, seed=params.seed, budget=settings.budget, work=work, log=log)
        files = verify_folder(layout.foundation)
    else:
        files = fetch_folder(layout.root / settings.source, layout.foundation, log)
    return {"files": len(files), "bytes": sum(files.values())}


def _convert(settings: Foundation, layout: Layout, log: RunLog, networks: Networks | None) -> dict[str, int]:
    """Convert the public checkpoints; returns the sizes of the files made."""
    from hummingbird.checkpoints.store import Store
    from hummingbird.models.convert.networks import PUBLISHED
    from hummingbird.pipelines.public import write_foundation

    if settings.checkpoints is None:
        raise UserError(
            "foundation.mode is checkpoints, but foundation.checkpoints names none",
            "name them as profiles/t2v-0.7b-mi250x4.yaml does",
        )
    work = layout.work("foundation", "checkpoints")
    write_foundation(settings.checkpoints, Store(layout.root), layout.foundation, work, log, networks or PUBLISHED)
    return {name: entry["bytes"] for name, entry in read_json(layout.foundation / MANIFEST).items()}
