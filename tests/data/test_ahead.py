from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from snowmelt.data.ahead import made_ahead


def numbers(count: int, made: list[int], threads: set[str] | None = None) -> Iterator[int]:
    for number in range(count):
        made.append(number)
        if threads is not None:
            threads.add(threading.current_thread().name)
        yield number


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_the_same_in_the_same_order_from_one_other_thread(count: int) -> None:
    threads: set[str] = set()
    assert list(made_ahead(numbers(count, [], threads))) == list(range(count))
    assert len(threads) == min(count, 1) and threading.current_thread().name not in threads


def test_so_many_are_made_before_their_turn() -> None:
    made: list[int] = []
    things = made_ahead(numbers(50, made), count=3)
    for number in range(10):
        assert next(things) == number
    things.close()  # type: ignore[attr-defined]
    assert 10 <= len(made) <= 14


def test_errors_come_in_their_turn() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError

    things = made_ahead(broken())
    assert [next(things), next(things)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(things)


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    for _ in made_ahead(numbers(50, [])):
        break
    assert list(made_ahead(numbers(5, []))) == [0, 1, 2, 3, 4]
    assert threading.active_count() == before
