from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.ingest.clock import ASTRAY, CameraClock

BASE = Fraction(1, 90_000)


def reference(utc: float) -> bytes:
    return struct.pack("<qi", round(utc * 1e6), 0)


def test_without_a_word_from_the_camera_arrival_counts() -> None:
    clock = CameraClock()
    assert clock.at(5.0, 1000.0) == (1000.0, 1000.0)
    assert clock.at(5.04, 1000.2) == (1000.04, 1000.04)  # jitter of the network does not count
    assert clock.source == "arrival"


def test_sender_reports_give_the_cameras_time_without_a_jump_of_the_steady_one() -> None:
    clock = CameraClock()
    clock.at(5.0, 1000.0)
    clock.producer_reference(reference(997.5), round(5.04 * 90_000), BASE)
    steady, wall = clock.at(5.04, 1000.04)
    assert steady == 1000.04
    assert abs(wall - 997.5) < 1e-3
    assert clock.source == "camera"


def test_a_wrong_clock_is_not_believed_and_told() -> None:
    clock = CameraClock()
    clock.at(0.0, 1_700_000_000.0)
    clock.producer_reference(reference(12.0), 0, BASE)
    assert clock.at(1.0, 1_700_000_001.0) == (1_700_000_001.0, 1_700_000_001.0)
    assert "wrong" in clock.source


def test_broken_side_data_is_left_out() -> None:
    clock = CameraClock()
    clock.producer_reference(b"\0\1", 0, BASE)
    clock.producer_reference(reference(5.0), None, BASE)
    assert clock.at(0.0, 5.0) == (5.0, 5.0)
    assert clock.source == "arrival"


@pytest.mark.parametrize("ppm", [50, -50, 500, -500])
def test_a_drifting_camera_stays_near_our_clock(ppm: int) -> None:
    clock, start = CameraClock(), 1.8e9
    for second in range(0, 30 * 86400, 5):
        steady, wall = clock.at(second * (1 + ppm * 1e-6), start + second)
        assert abs(wall - start - second) < ASTRAY + 0.01 and steady == wall  # an interval's drift more


def test_a_stall_of_the_network_sets_no_clock() -> None:
    clock = CameraClock()
    arrivals = [0.04 * n if n < 100 else max(0.04 * n, 6.9 + 0.001 * n) for n in range(400)]
    for n, came in enumerate(arrivals):
        assert clock.at(0.04 * n, 1000.0 + came)[0] == pytest.approx(1000 + 0.04 * n)


def test_a_burst_of_pictures_keeps_its_pace() -> None:
    """As a camera sends those since its last key frame when it is connected to."""
    clock = CameraClock()
    for n in range(100):
        assert clock.at(0.04 * n, 1000 + 0.001 * n)[0] == pytest.approx(1000 + 0.04 * n)
    for n in range(100, 200):
        steady, _ = clock.at(0.04 * n, 1000.1 + 0.04 * (n - 100))
    assert steady == pytest.approx(1000.1 + 0.04 * 99, abs=0.1)


def test_a_jump_of_the_cameras_clock_moves_no_time() -> None:
    clock = CameraClock()
    for n in range(5):
        clock.producer_reference(reference(1000 + 0.04 * n), round(0.04 * n * 90_000), BASE)
        clock.at(0.04 * n, 1000 + 0.04 * n)
    for jump in (30.0, 10_800.0):  # what the camera said of its clock before holds no more either
        assert clock.at(jump + 0.2, 1000.2) == (pytest.approx(1000.2), pytest.approx(1000.2))
        assert clock.at(jump + 0.24, 1000.25)[1] == pytest.approx(1000.24)
    back = [clock.at(0.04 * n, 1000.3 + 0.04 * n)[1] - 1000.3 - 0.04 * n for n in range(100)]
    assert abs(back[-1]) < 0.05


STEPS = st.lists(
    st.tuples(st.floats(-100, 100) | st.floats(0, 0.2), st.floats(-50, 50) | st.floats(0, 0.2)), max_size=100
)


@given(STEPS)
def test_times_go_as_the_streams_do_unless_anchored_anew_and_come_back(steps: list[tuple[float, float]]) -> None:
    clock, stream, now, behind = CameraClock(), 0.0, 1e6, 0.0
    before: tuple[float, float] | None = None
    for further, later in steps:
        stream, now = stream + further, now + later
        steady, wall = clock.at(stream, now)
        assert steady == wall == clock.beside(stream, now)[0]
        if before is not None and steady != pytest.approx(now, abs=1e-6):
            assert steady - before[0] == pytest.approx(stream - before[1], abs=1e-6)
        before = steady, stream
    for _ in range(200):  # whatever was, five good seconds mend it
        stream, now = stream + 0.04, now + 0.04
        behind = now - clock.at(stream, now)[0]
    assert abs(behind) <= ASTRAY + 1e-6
