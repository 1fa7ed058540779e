"""Stage ``foundation``: fetch (or train) the teacher, the reward models and the helpers, verified and converted."""

from __future__ import annotations

from typing import NoReturn

from hummingbird.checkpoints.inventory import require
from hummingbird.checkpoints.store import Store
from hummingbird.errors import UserError
from hummingbird.layout import Layout
from hummingbird.models.checkpoints import fetch_folder, verify_folder
from hummingbird.params import Foundation, Params
from hummingbird.runlog import RunLog


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Put every foundation model below ``layout.foundation``.

    ``fetch`` copies the folder ``foundation.source`` file by file against its manifest of sha256 sums; ``train`` makes
    the models from nothing; ``checkpoints`` takes the public ones from the store.

    Raises:
        UserError: the source or a file of it is missing, or a file is not what its manifest says.
    """
    settings = params.foundation
    if settings.mode == "checkpoints":
        _convert(settings, layout, log)
    if settings.mode == "train":
        from hummingbird.miniature.train import train_all

        train_all(layout.foundation, seed=params.seed, budget=settings.budget, log=log)
        files = verify_folder(layout.foundation)
    else:
        files = fetch_folder(layout.root / settings.source, layout.foundation, log)
    return {"files": len(files), "bytes": sum(files.values())}


def _convert(settings: Foundation, layout: Layout, log: RunLog) -> NoReturn:
    """Verify the public checkpoints. They are not converted to this project's form yet, so that ends the stage."""
    if settings.checkpoints is None:
        raise UserError(
            "foundation.mode is checkpoints, but foundation.checkpoints names none",
            "name them as profiles/t2v-0.7b-mi250x4.yaml does",
        )
    folders = require(Store(layout.root), settings.checkpoints.names, log)
    raise UserError(
        f"the public checkpoints are here and intact ({', '.join(folders)}), but this stage cannot convert them",
        "take models that are converted: foundation.mode: fetch, foundation.source: their folder",
    )
