"""Where the work on shards runs: processes of this machine, or a Ray cluster.

A task is one shard. Its function is a pure function of the task, importable by name, that writes its own result under a
name of the result's content, whole or not at all: a file that is there is the mark that its task is done. So it does
not matter where a task runs, nor whether it runs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from hummingbird.engine.local import run_locally
from hummingbird.params import Curation, Needs

Task = TypeVar("Task")
Result = TypeVar("Result")


def run(
    function: Callable[[Task], Result], tasks: Sequence[Task], settings: Curation, needs: Needs
) -> Iterator[Result]:
    """``function`` of every task, in the tasks' order, as they come.

    Args:
        function: importable by name, also on the cluster's nodes. Paths in tasks are absolute, and on a cluster lie on
            a file system that all nodes share.
        needs: of one task.

    Raises:
        UserError: the cluster cannot be used. What ``function`` raises is raised here, and no further task is begun.
    """
    if settings.engine == "local":
        return run_locally(function, tasks, settings.workers, needs)
    from hummingbird.engine.ray_cluster import run_on_ray  # an optional package

    return run_on_ray(function, tasks, settings.address, needs)
