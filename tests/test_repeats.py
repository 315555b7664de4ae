from __future__ import annotations

import logging

from anonymizer.repeats import Repeats


def record(at: float, message: str, *given: object) -> logging.LogRecord:
    made = logging.LogRecord("stage", logging.WARNING, "", 0, message, given, None)
    made.created = at
    return made


def test_one_line_of_many_and_their_number() -> None:
    repeats = Repeats(10)
    passed = [one for i in range(250) if repeats.filter(one := record(i / 25, "face %d failed", i))]
    assert [one.getMessage() for one in passed] == ["face 0 failed"]
    later = record(10.5, "face %d failed", 250)
    assert (
        repeats.filter(later) and later.getMessage() == "face 250 failed (and 249 times since the last line like this)"
    )


def test_other_messages_pass() -> None:
    repeats = Repeats(10)
    assert all(repeats.filter(record(0, text)) for text in ("a", "b", "c"))
    assert not repeats.filter(record(0, "a"))
