"""Where the work on shards runs: processes of this machine, or a Ray cluster.

A task is one shard, or one video that goes into one. Its function is a pure function of the task, importable by name.
What it writes has a name that follows from the result's content and is there whole or not at all: a file that is there
is the mark that its task is done. So it does not matter where a task runs, nor whether it runs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from hummingbird.engine.local import run_locally
from hummingbird.params import Curation, Needs

Task = TypeVar("Task")
Result = TypeVar("Result")


def run(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    settings: Curation,
    needs: Needs,
    clips: int | None = None,
    crashed: Callable[[Task], Result] | None = None,
) -> Generator[Result, None, None]:
    """``function`` of every task, in the tasks' order, as they come.

    Args:
        function: importable by name, also on the cluster's nodes. Paths in tasks are absolute, and on a cluster lie on
            a file system that all nodes share.
        tasks: taken as needed. For each that can run at a time, at most four (``window.AHEAD``) have been taken and
            their results not been given out; so many results lie in memory.
        needs: of one task.
        clips: in all tasks, where that is known: a handful is not worth the start of processes on this machine.
        crashed: what stands for the result of a task that kills its process again and again; none = an error.

    Raises:
        UserError: the cluster cannot be used. What ``function`` or ``tasks`` raise is raised here, and no further task
            is begun.
    """
    if settings.engine == "local":
        return run_locally(function, tasks, settings.workers, needs, clips, crashed)
    from hummingbird.engine.ray_cluster import run_on_ray  # an optional package

    return run_on_ray(function, tasks, settings.address, needs, crashed)
