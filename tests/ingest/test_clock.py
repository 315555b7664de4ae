from __future__ import annotations

import struct
from fractions import Fraction

from anonymizer.ingest.clock import CameraClock

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
