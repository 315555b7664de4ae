"""Switches of identity."""

from __future__ import annotations

import pytest

from anonymizer.evaluate.stability import count_switches


def test_switches_are_counted_between_replaced_frames() -> None:
    track = [(i / 10, "replace", 1) for i in range(11)]
    assert count_switches(track) == (0, pytest.approx(1.0))
    changed = [*track, *((1.1 + i / 10, "replace", 2) for i in range(10))]
    assert count_switches(changed) == (1, pytest.approx(2.0))


def test_a_covered_gap_is_no_time_and_a_new_face_after_it_is_a_switch() -> None:
    track = [(0.0, "replace", 1), (0.1, "replace", 1), (0.2, "solid", 1), (3.0, "replace", 5), (3.1, "replace", 5)]
    assert count_switches(track) == (1, pytest.approx(0.2))
    assert count_switches([(0.0, "solid", 1), (0.1, "", None)]) == (0, 0.0)
