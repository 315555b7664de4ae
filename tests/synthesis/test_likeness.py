from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymizer.synthesis.likeness import likeness

BOX = (10.0, 10.0, 80.0, 100.0)


def face(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (24, 20)).astype(np.uint8)
    return np.asarray(cv2.resize(noise, (100, 120), interpolation=cv2.INTER_CUBIC) // 2 + 60, np.uint8)


WHOLE = np.full((120, 100), 255, np.uint8)


def test_the_same_picture_is_alike_and_another_is_not() -> None:
    assert likeness(face(1), face(1), WHOLE, BOX)[0] > 0.95
    assert abs(likeness(face(1), face(2), WHOLE, BOX)[0]) < 0.4


def test_a_shift_does_not_hide_it() -> None:
    moved = np.roll(face(1), (4, 3), (0, 1))
    assert likeness(face(1), moved, WHOLE, BOX)[0] > 0.7


def test_what_the_weight_leaves_bare_counts() -> None:
    assert likeness(face(1), face(2), np.zeros_like(WHOLE), BOX)[0] > 0.95
    assert likeness(face(1), face(2), WHOLE // 8, BOX)[0] > 0.8


def test_light_alone_does_not_count() -> None:
    ramp = np.linspace(0, 90, 100)[None].astype(np.uint8)
    assert likeness(face(1) // 2 + ramp, face(2) // 2 + ramp, WHOLE, BOX)[0] < 0.4


def test_what_changed_is_counted() -> None:
    """A face drawn a little lighter has not changed, one drawn much lighter has."""
    assert likeness(face(1), face(1) + np.uint8(6), WHOLE, BOX)[1] < 0.1
    assert likeness(face(1), face(1) // 2 + np.uint8(100), WHOLE, BOX)[1] > 0.9
    assert likeness(face(1), face(1) // 2 + np.uint8(100), WHOLE // 16, BOX)[1] < 0.2


@pytest.mark.parametrize("box", [(0.0, 0.0, 5.0, 5.0), (-50.0, -50.0, 40.0, 40.0), (200.0, 200.0, 40.0, 40.0)])
def test_nothing_to_compare_is_no_likeness(box: tuple[float, float, float, float]) -> None:
    assert likeness(face(1), face(1), WHOLE, box) == (0.0, 1.0)
