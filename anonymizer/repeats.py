"""Keeps a fault that comes with every picture from filling the log."""

from __future__ import annotations

import logging

_MOST = 1000  # different messages that are remembered


class Repeats(logging.Filter):
    """Lets a message through once in ``interval`` seconds and says then how many like it there were.

    Messages are alike when they come from the same logger with the same text before its arguments are put in.
    """

    def __init__(self, interval: float = 10.0) -> None:
        super().__init__()
        self._interval = interval
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = record.name, str(record.msg)
        last, more = self._told.get(key, (float("-inf"), 0))
        if record.created - last < self._interval:
            self._told[key] = last, more + 1
            return False
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told[key] = record.created, 0
        if more:
            record.msg, record.args = f"{record.getMessage()} (and {more} times since the last line like this)", ()
        return True
