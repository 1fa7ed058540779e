"""Tasks on a Ray cluster, with declared needs. A task whose node dies runs again on another one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from hummingbird import telemetry
from hummingbird.engine.window import AHEAD, in_order
from hummingbird.errors import UserError
from hummingbird.params import Needs

Task = TypeVar("Task")
Result = TypeVar("Result")

_TRIES_ELSEWHERE = 5  # of a task whose process or node dies


def run_on_ray(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    address: str | None,
    needs: Needs,
    crashed: Callable[[Task], Result] | None = None,
) -> Generator[Result, None, None]:
    """See :func:`hummingbird.engine.run`. Where it is known that there are no tasks, no cluster is needed."""
    if isinstance(tasks, Sized) and not len(tasks):
        return
    ray = _import_ray()
    with _connected(ray, address):
        ahead = AHEAD * _slots(ray, needs)
        remote = ray.remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=int(needs.memory_gb * 2**30),
            max_retries=_TRIES_ELSEWHERE,
            scheduling_strategy="SPREAD",
        )(_call)

        def begin(task: Task) -> tuple[Task, Any]:
            return task, remote.remote(function, task)

        def cancel(running: tuple[Task, Any]) -> None:
            ray.cancel(running[1])

        yield from in_order(tasks, begin, partial(_result, ray, crashed), cancel, ahead)


def _call(function: Callable[[Task], Result], task: Task) -> Result:
    return function(task)


def _result(ray: Any, crashed: Callable[[Task], Result] | None, running: tuple[Task, Any]) -> Any:
    task, reference = running
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # of the function: as if it had run here
        raise error.cause from error
    except ray.exceptions.RayError as error:
        if crashed is not None and isinstance(error, ray.exceptions.WorkerCrashedError):
            return crashed(task)
        raise UserError(
            f"a task was lost {1 + _TRIES_ELSEWHERE} times on the Ray cluster: {error}",
            "look at the nodes (ray status), give the task more memory in curation of params.yaml, and run again: "
            "finished shards are kept",
        ) from error


def _import_ray() -> Any:
    telemetry.switch_off()
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "curation.engine is ray, and Ray is not installed", "pip install 'hummingbird[ray]', or set it to local"
        ) from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to the cluster, for as long as the work lasts unless there was one before."""
    if ray.is_initialized():
        yield
        return
    if not address:
        raise UserError(
            "curation.engine is ray, and curation.address is empty",
            "set it to the cluster's address; a cluster begins with: ray start --head",
        )
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"no Ray cluster at {address}: {error}", "look at curation.address in params.yaml, and at: ray status"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _slots(ray: Any, needs: Needs) -> int:
    """How many tasks the nodes hold at a time. Nodes that join later find enough waiting to work four times as fast.

    Raises:
        UserError: no node can ever run one; Ray would wait for such a node for ever.
    """
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_gb * 2**30}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(min(int(node.get(name, 0.0) / amount) for name, amount in wanted.items() if amount) for node in nodes)
    if not slots:
        raise UserError(
            f"no node of the Ray cluster has {needs.cpus:g} CPUs, {needs.gpus:g} GPUs and {needs.memory_gb:g} GiB",
            "lower what curation asks for in params.yaml, or start larger nodes",
        )
    return slots
