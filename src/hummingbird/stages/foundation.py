"""Stage ``foundation``: fetch (or train) the teacher, the reward models and the helpers, verified and converted."""

from __future__ import annotations

from hummingbird.layout import Layout
from hummingbird.models.checkpoints import fetch_folder, verify_folder
from hummingbird.params import Params
from hummingbird.runlog import RunLog


def run(params: Params, layout: Layout, log: RunLog) -> dict[str, float]:
    """Put every foundation model below ``layout.foundation``.

    ``fetch`` copies the folder ``foundation.source`` file by file against its manifest of sha256 sums; ``train`` makes
    the models from nothing.

    Raises:
        UserError: the source or a file of it is missing, or a file is not what its manifest says.
    """
    settings = params.foundation
    if settings.mode == "train":
        from hummingbird.miniature.train import train_all

        train_all(layout.foundation, seed=params.seed, budget=settings.budget, log=log)
        files = verify_folder(layout.foundation)
    else:
        files = fetch_folder(layout.root / settings.source, layout.foundation, log)
    return {"files": len(files), "bytes": sum(files.values())}
