"""How far ahead tasks are taken, and what becomes of those that nobody waits for any more."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from hummingbird.engine.window import in_order


class Work:
    """Remembers the tasks that were taken, begun and cancelled."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.taken = 0
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.fails_at = fails_at

    def tasks(self) -> Iterator[int]:
        for number in range(100):
            if number == self.fails_at:
                raise KeyError(number)
            self.taken += 1
            yield number

    def results(self, ahead: int) -> Generator[int, None, None]:
        return in_order(self.tasks(), self.begin, lambda number: -number, self.cancelled.append, ahead)

    def begin(self, task: int) -> int:
        self.begun.append(task)
        return task


@pytest.mark.parametrize("ahead", [1, 5, 1000])
def test_results_keep_the_order_and_a_bounded_number_is_ahead(ahead: int) -> None:
    work = Work()
    for number, result in enumerate(work.results(ahead)):
        assert result == -number
        assert work.taken == min(100, number + ahead)
    assert work.begun == list(range(100))
    assert work.cancelled == []


def test_what_nobody_waits_for_is_cancelled() -> None:
    work = Work()
    results = work.results(5)
    assert [next(results), next(results)] == [0, -1]
    results.close()
    assert work.cancelled == [2, 3, 4, 5]


def test_an_error_of_the_tasks_comes_through() -> None:
    work = Work(fails_at=7)
    results = work.results(5)
    assert [next(results) for _ in range(3)] == [0, -1, -2]
    with pytest.raises(KeyError):
        next(results)
    assert work.cancelled == [3, 4, 5, 6]
