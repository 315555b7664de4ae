from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from anonymizer.threads import Behind, ahead


def test_items_come_in_order_and_only_a_few_in_advance() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for index in range(50):
            taken.append(index)
            yield index

    seen = []
    for item in ahead(items(), 2):
        seen.append(item)
        assert len(taken) <= len(seen) + 4
        time.sleep(0.001)
    assert seen == list(range(50))


def test_errors_are_raised_where_items_are_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    iterator = ahead(items(), 2)
    assert next(iterator) == 1
    with pytest.raises(KeyError, match="broken"):
        next(iterator)


def test_stopping_early_ends_the_thread() -> None:
    before = threading.active_count()
    iterator = ahead(iter(range(10**9)), 2)
    next(iterator)
    iterator.close()
    assert threading.active_count() == before


def test_calls_are_made_in_order() -> None:
    seen: list[int] = []
    behind = Behind(seen.append, 2)
    for index in range(100):
        behind.put(index)
    behind.close()
    assert seen == list(range(100))


def put_all(behind: Behind[int]) -> None:
    for index in range(1000):
        behind.put(index)


def test_an_error_of_a_call_surfaces_and_nothing_more_is_called() -> None:
    seen: list[int] = []

    def call(item: int) -> None:
        if item == 3:
            raise OSError("full")
        seen.append(item)

    behind = Behind(call, 1)
    with pytest.raises(OSError, match="full"):
        put_all(behind)
    with pytest.raises(OSError, match="full"):
        behind.close()
    assert seen == [0, 1, 2]
