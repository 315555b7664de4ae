from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from anonymizer.ingest.timestamps import Timeline


def stamps(times: list[int | None], step: int = 40, second: int = 1000) -> list[int]:
    timeline = Timeline(step, second)
    return [timeline.stamp(time) for time in times]


def test_good_times_stay_as_they_are() -> None:
    times: list[int | None] = [-200, -160, -3, 0, 1, 500, 5000]
    assert stamps(times) == times


def test_missing_times_follow_at_the_nominal_step() -> None:
    assert stamps([None, None, 80, None]) == [0, 40, 80, 120]


def test_a_late_picture_does_not_push_those_after_it() -> None:
    assert stamps([0, 40, 120, 80, 160]) == [0, 40, 120, 140, 160]


def test_a_jump_back_goes_on_where_the_last_picture_ended() -> None:
    assert stamps([10_000, 10_040, 0, 40, 80]) == [10_000, 10_040, 10_080, 10_120, 10_160]


@given(st.lists(st.none() | st.integers(-(10**9), 10**9), max_size=60))
def test_times_always_rise(times: list[int | None]) -> None:
    stamped = stamps(times)
    assert all(a < b for a, b in itertools.pairwise(stamped))
    assert len(stamped) == len(times)
