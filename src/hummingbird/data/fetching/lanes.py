"""Many jobs at once in threads: few to each lane (a host), results in the order of the jobs, and nothing piles up."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_PATIENCE_S = 0.5  # with all threads together, once they are to stop


class Lanes(Generic[Job, Result]):
    """Runs ``work`` on jobs, ``threads`` at once and ``per_lane`` of the same lane.

    At most ``ahead`` jobs have been taken and their results not yet been given out, so that neither waiting jobs nor
    the results behind a slow job grow without bound.
    """

    def __init__(
        self, work: Callable[[Job], Result], lane: Callable[[Job], str], *, threads: int, per_lane: int, ahead: int
    ) -> None:
        self._work, self._lane = work, lane
        self._free, self._per_lane, self._ahead = threads, per_lane, ahead
        self._waiting: dict[str, deque[tuple[int, Job]]] = {}
        self._busy: Counter[str] = Counter()
        self._ready: deque[str] = deque()  # lanes with a job that may start, each once
        self._queued: set[str] = set()  # the same lanes
        self._todo: SimpleQueue[tuple[int, str, Job] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, str, Result | BaseException]] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def run(self, jobs: Iterable[Job], stop: threading.Event) -> Generator[Result, None, None]:
        """The results, in the order of ``jobs``; what a job raises is raised here, at its turn.

        Ended early, it sets ``stop``, on which running jobs are to give up. Threads that do not are left to themselves.
        """
        for thread in self._threads:
            thread.start()
        try:
            yield from self._results(enumerate(jobs))
        except BaseException:
            stop.set()
            raise
        finally:
            for _ in self._threads:
                self._todo.put(None)
            end = time.monotonic() + _PATIENCE_S
            for thread in self._threads:
                thread.join(timeout=max(0.0, end - time.monotonic()) if stop.is_set() else None)

    def _results(self, jobs: Iterator[tuple[int, Job]]) -> Iterator[Result]:
        results: dict[int, Result | BaseException] = {}
        head, taken, more = 0, 0, True
        while True:
            while more and taken - head < self._ahead:
                if (numbered := next(jobs, None)) is None:
                    more = False
                else:
                    self._add(*numbered)
                    taken += 1
            self._start()
            if head in results:
                result = results.pop(head)
                if isinstance(result, BaseException):
                    raise result
                yield result
                head += 1
            elif head == taken:
                return
            else:
                number, lane, result = self._done.get()
                results[number] = result
                self._finish(lane)

    def _add(self, number: int, job: Job) -> None:
        lane = self._lane(job)
        self._waiting.setdefault(lane, deque()).append((number, job))
        self._let(lane)

    def _let(self, lane: str) -> None:
        if lane not in self._queued and self._waiting.get(lane) and self._busy[lane] < self._per_lane:
            self._ready.append(lane)
            self._queued.add(lane)

    def _start(self) -> None:
        while self._free and self._ready:
            lane = self._ready.popleft()
            self._queued.remove(lane)
            number, job = self._waiting[lane].popleft()
            if not self._waiting[lane]:
                del self._waiting[lane]
            self._busy[lane] += 1
            self._free -= 1
            self._todo.put((number, lane, job))
            self._let(lane)

    def _finish(self, lane: str) -> None:
        self._free += 1
        self._busy[lane] -= 1
        if not self._busy[lane]:
            del self._busy[lane]
        self._let(lane)

    def _run(self) -> None:
        while (task := self._todo.get()) is not None:
            number, lane, job = task
            try:
                result: Result | BaseException = self._work(job)
            except BaseException as error:
                result = error
            self._done.put((number, lane, result))
