"""Reading ahead: the next batches come while the network is at work on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def prefetched(data: Callable[[int], T], parts: Iterable[int], ahead: int) -> Iterator[Iterator[tuple[int, T]]]:
    """``(n, data(n))`` for every n of ``parts``, in their order, of which a thread reads up to ``ahead`` in advance.

    The batches are the same for any ``ahead``, for ``data`` is a pure function; with 0 there is no thread. An error
    comes with the batch that it belongs to, after all those before it. The thread ends with the block, once the batch
    that it is reading is read.

    Raises:
        Whatever ``data`` raises.
    """
    if ahead == 0:
        yield ((part, data(part)) for part in parts)
        return
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        yield _in_advance(pool, data, iter(parts), ahead)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_advance(
    pool: ThreadPoolExecutor, data: Callable[[int], T], parts: Iterator[int], ahead: int
) -> Iterator[tuple[int, T]]:
    waiting: deque[tuple[int, Future[T]]] = deque()
    waiting.extend((part, pool.submit(data, part)) for part in islice(parts, ahead))
    while waiting:
        part, future = waiting.popleft()
        batch = future.result()
        waiting.extend((part, pool.submit(data, part)) for part in islice(parts, 1))  # read while this one is used
        yield part, batch
