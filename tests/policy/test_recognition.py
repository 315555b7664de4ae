"""Hysteresis over sightings, and what ends a recognition."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.policy.recognition import FORGET_AFTER, REMEMBERED, Recognition, Recognitions
from anonymizer.policy.rules import Certainty

BOUNDS = Certainty(enter=0.5, leave=0.4, lead=0.1, sightings=3, fresh=1.0)
STAFF = frozenset({"staff"})


def seen(
    *similarities: float, member: str = "anna", start: float = 0.0, step: float = 0.2, second: float = -1.0
) -> list[Recognition]:
    return [Recognition(member, STAFF, s, start + i * step, second) for i, s in enumerate(similarities)]


def known(sightings: list[Recognition], time: float | None = None, bounds: Certainty = BOUNDS) -> str:
    recognitions = Recognitions()
    for sighting in sightings:
        recognitions.add(1, sighting)
    found = recognitions.known(1, sightings[-1].time if time is None else time, bounds)
    return found.member if found else ""


def test_it_takes_several_sightings_in_a_row() -> None:
    assert known(seen(0.9, 0.9)) == ""
    assert known(seen(0.9, 0.9, 0.9)) == "anna"
    assert known(seen(0.9, 0.9, 0.45, 0.9, 0.9)) == ""
    assert known(seen(0.49, 0.49, 0.49, 0.49)) == ""


def test_once_recognised_the_lower_threshold_holds_and_below_it_ends_at_once() -> None:
    assert known(seen(0.6, 0.6, 0.6, 0.41, 0.42)) == "anna"
    assert known(seen(0.6, 0.6, 0.6, 0.39)) == ""
    assert known(seen(0.6, 0.6, 0.6, 0.39, 0.45, 0.9)) == ""
    assert known(seen(0.6, 0.6, 0.6, 0.39, 0.6, 0.6, 0.6)) == "anna"


def test_ambiguous_or_other_people_end_it() -> None:
    assert known(seen(0.9, 0.9, 0.9, second=0.85)) == ""
    assert known([*seen(0.9, 0.9, 0.9), *seen(0.9, start=0.6, second=0.85)]) == ""
    assert known([*seen(0.9, 0.9, 0.9), *seen(0.9, start=0.6, member="berta")]) == ""
    assert known([*seen(0.9, 0.9, 0.9), *seen(0.9, 0.9, 0.9, start=0.6, member="berta")]) == "berta"
    assert known([*seen(0.9, 0.9, 0.9), *seen(0.9, start=0.6, member="")]) == ""


def test_it_ages() -> None:
    assert known(seen(0.9, 0.9, 0.9), time=1.4) == "anna"
    assert known(seen(0.9, 0.9, 0.9), time=1.41) == ""
    assert known(seen(0.9, 0.9, 0.9, step=1.1)) == ""


def test_a_later_sighting_can_end_it_but_not_begin_it() -> None:
    """A frame waits in the look-ahead while newer frames are looked at already."""
    assert known(seen(0.9, 0.9, 0.9), time=0.3) == ""
    assert known(seen(0.9, 0.9, 0.9, 0.9), time=0.5) == "anna"
    assert known(seen(0.9, 0.9, 0.9, 0.1), time=0.5) == ""


def test_doubt_asks_for_new_sightings() -> None:
    recognitions = Recognitions()
    for sighting in seen(*[0.9] * 10):
        recognitions.add(1, sighting)
    recognitions.doubt(1, 1.5)
    assert recognitions.known(1, 1.8, BOUNDS) is None
    for sighting in seen(0.9, start=2.0):
        recognitions.add(1, sighting)
    assert recognitions.known(1, 2.0, BOUNDS) is not None


def test_old_and_unordered_sightings_are_ignored_and_tracks_forgotten() -> None:
    recognitions = Recognitions()
    assert not recognitions
    for sighting in [*seen(0.9, 0.9, 0.9), *seen(0.1, start=0.1)]:
        recognitions.add(1, sighting)
    assert recognitions.known(1, 0.4, BOUNDS) is not None
    for sighting in seen(*[0.45] * REMEMBERED, start=0.6):
        recognitions.add(1, sighting)
    assert recognitions.known(1, 0.6 + 0.2 * (REMEMBERED - 1), BOUNDS) is None  # the entry is no longer remembered
    recognitions.doubt(2, 0.0)
    recognitions.forget(0.6 + 0.2 * REMEMBERED + FORGET_AFTER)
    assert not recognitions and recognitions.known(1, 1.0, BOUNDS) is None


sightings = st.lists(
    st.builds(
        lambda member, s, second, step: (Recognition(member, STAFF, s, 0.0, second), step),
        st.sampled_from(["anna", "anna", "anna", "berta", ""]),
        st.sampled_from([0.35, 0.41, 0.45, 0.55, 0.7]),
        st.sampled_from([-1.0, -1.0, 0.32, 0.5]),
        st.sampled_from([0.1, 0.1, 0.4, 1.2]),
    ),
    max_size=14,
)
stricter = st.builds(
    lambda e, v, d, n, f: Certainty(
        enter=0.5 + e, leave=0.4 + min(v, e + 0.1), lead=0.1 + d, sightings=3 + n, fresh=1.0 - f
    ),
    *[st.sampled_from([0.0, 0.05, 0.1])] * 3,
    st.integers(0, 2),
    st.sampled_from([0.0, 0.5]),
)


@settings(deadline=None)
@given(sightings, stricter, st.lists(st.floats(0, 6), max_size=2), st.floats(0, 8))
def test_stricter_bounds_never_recognise_more(
    steps: list[tuple[Recognition, float]], bounds: Certainty, doubts: list[float], time: float
) -> None:
    recognitions, now = Recognitions(), 0.0
    for sighting, step in steps:
        now += step
        recognitions.add(1, replace(sighting, time=now))
    for doubt in doubts:
        recognitions.doubt(1, doubt)
    found = recognitions.known(1, time, bounds)
    loose = recognitions.known(1, time, BOUNDS)
    assert found is None or (loose is not None and loose.member == found.member)
    if loose is not None:  # its own reason: a fresh sighting of that member, at leave or above
        assert loose.time <= time <= loose.time + BOUNDS.fresh and loose.similarity >= BOUNDS.leave
