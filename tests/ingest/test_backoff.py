from __future__ import annotations

from random import Random

from anonymizer.ingest.backoff import Backoff


def test_waits_double_up_to_the_longest_and_begin_anew_after_success() -> None:
    backoff = Backoff(first=0.25, longest=4.0, random=Random(1))
    waits = [backoff.failed() for _ in range(10)]
    for wait, most in zip(waits, [0.25, 0.5, 1, 2, 4, 4, 4, 4, 4, 4], strict=True):
        assert most / 2 <= wait <= most
    assert len({round(wait, 6) for wait in waits[4:]}) > 1
    backoff.succeeded()
    assert backoff.failed() <= 0.25


def test_a_camera_that_is_back_need_not_wait_long() -> None:
    backoff = Backoff(random=Random(1))
    assert max(backoff.failed() for _ in range(100)) <= 3.0
