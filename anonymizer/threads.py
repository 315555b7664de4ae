"""Work handed from thread to thread in order, never more than a few items apart; and a watch on the parent."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from multiprocessing import connection
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The items, taken by a thread of its own at most depth in advance. What taking them raises is raised here.

    Whoever stops early closes the iterator; the thread has ended when that returns.
    """
    waiting: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def offer(what: tuple[bool, Any]) -> bool:
        while not stop.is_set():
            try:
                waiting.put(what, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def take() -> None:
        try:
            for item in items:
                if not offer((True, item)):
                    return
            offer((False, None))
        except BaseException as error:  # handed over, whatever it is
            offer((False, error))

    thread = threading.Thread(target=take, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, item = waiting.get()
            if not more:
                if item is not None:
                    raise item
                return
            yield item
    finally:
        stop.set()
        thread.join()


class Behind(Generic[T]):
    """Calls a function with each item in a thread of its own, in order, at most depth items behind.

    What the function raises is raised by the next ``put`` or by ``close``; later items are then dropped.
    """

    def __init__(self, function: Callable[[T], object], depth: int) -> None:
        self._function = function
        self._waiting: queue.Queue[T | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        self._check()
        self._waiting.put(item)

    def close(self) -> None:
        """Wait until all items have been dealt with."""
        self._waiting.put(None)
        self._thread.join()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    self._function(item)
                except BaseException as error:  # raised where the items come from
                    self._error = error


def end_with_parent() -> None:
    """From now on the process ends when the one that started it has gone: a parent that was killed cannot end us."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
