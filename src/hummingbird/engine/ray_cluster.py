"""Tasks on a Ray cluster, with declared needs. A task whose node dies runs again on another one."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from hummingbird import telemetry
from hummingbird.errors import UserError
from hummingbird.params import Needs

Task = TypeVar("Task")
Result = TypeVar("Result")

_TRIES_ELSEWHERE = 5  # of a task whose process or node dies
_AHEAD = 256  # tasks that the cluster knows at a time


def run_on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], address: str | None, needs: Needs
) -> Iterator[Result]:
    """See :func:`hummingbird.engine.run`. Without tasks no cluster is needed."""
    if not tasks:
        return
    ray = _import_ray()
    with _connected(ray, address):
        _check_needs(ray, needs)
        remote = ray.remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=int(needs.memory_gb * 2**30),
            max_retries=_TRIES_ELSEWHERE,
            scheduling_strategy="SPREAD",
        )(_call)
        waiting = iter(tasks)
        running = deque(remote.remote(function, task) for task in itertools.islice(waiting, _AHEAD))
        try:
            while running:
                result: Result = _result(ray, running.popleft())
                running.extend(remote.remote(function, task) for task in itertools.islice(waiting, 1))
                yield result
        finally:
            for reference in running:
                ray.cancel(reference)


def _call(function: Callable[[Task], Result], task: Task) -> Result:
    return function(task)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # of the function: as if it had run here
        raise error.cause from error
    except ray.exceptions.RayError as error:
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


def _check_needs(ray: Any, needs: Needs) -> None:
    """Refuse needs that no node can ever meet: Ray would wait for one for ever."""
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_gb * 2**30}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0.0) >= amount for name, amount in wanted.items()) for node in nodes):
        raise UserError(
            f"no node of the Ray cluster has {needs.cpus:g} CPUs, {needs.gpus:g} GPUs and {needs.memory_gb:g} GiB",
            "lower what curation asks for in params.yaml, or start larger nodes",
        )
