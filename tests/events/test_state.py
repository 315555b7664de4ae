"""States and counters: complete, rounded, and not believed blindly."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.events.state import BOUNDS, CameraCounters, CameraState, Histogram


def test_every_field_is_documented_and_told() -> None:
    fields = dataclasses.fields(CameraState)
    assert all(f.metadata["title"] and f.metadata["description"] for f in fields)
    assert set(CameraState().to_json()) == {f.name for f in fields}


def test_noise_makes_no_difference() -> None:
    assert CameraState(fps=24.96, latency_ms=50.2).to_json() == CameraState(fps=25.04, latency_ms=49.8).to_json()


def test_a_worker_tells_what_has_changed() -> None:
    state = CameraState(clients=2).updated({"online": True, "fps": 25})
    assert (state.online, state.fps, state.clients) == (True, 25, 2)


@pytest.mark.parametrize(
    "changes", [{"colour": 1}, {"online": 1}, {"faces": "2"}, {"faces": True}, {"fps": math.nan}, {"reason": None}]
)
def test_a_state_refuses_what_it_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="CameraState"):
        CameraState().updated(changes)


def test_the_histogram_puts_a_bound_into_its_own_bucket() -> None:
    histogram = Histogram()
    for value in (0.0, BOUNDS[0], BOUNDS[0] + 1e-6, 99.0):
        histogram.observe(value)
    assert histogram.counts[:2] == [2, 1]
    assert (histogram.counts[-1], sum(histogram.counts)) == (1, 4)
    assert histogram.total == pytest.approx(99.0 + 2 * BOUNDS[0])


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    return histogram


COUNTERS = st.builds(
    CameraCounters,
    frames_in=st.integers(0, 10**9),
    queue_drops=st.integers(0, 10**9),
    detector_seconds=st.floats(0, 1e9),
    latency=st.lists(st.floats(0, 10), max_size=20).map(filled),
)


@settings(deadline=None)
@given(COUNTERS)
def test_counters_come_back_as_they_went(counters: CameraCounters) -> None:
    assert CameraCounters.from_json(json.loads(json.dumps(counters.to_json()))) == counters


@settings(deadline=None)
@given(COUNTERS, COUNTERS)
def test_counters_of_two_lives_add_up(a: CameraCounters, b: CameraCounters) -> None:
    total = a + b
    assert total.frames_in == a.frames_in + b.frames_in
    assert sum(total.latency.counts) == sum(a.latency.counts) + sum(b.latency.counts)


@pytest.mark.parametrize(
    "change",
    [
        {"frames_in": -1},
        {"frames_in": 0.5},
        {"detector_seconds": math.inf},
        {"frames": 1},
        {"latency": 3},
        {"latency": {"counts": [1], "total": 0}},
        {"latency": {"counts": [0.5] * (len(BOUNDS) + 1), "total": 0}},
        {"latency": {"counts": [0] * (len(BOUNDS) + 1), "total": "0"}},
    ],
)
def test_counters_refuse_what_they_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"latency|counter|CameraCounters|count is"):
        CameraCounters.from_json(CameraCounters().to_json() | change)
