"""Points that are carried by the motion of the picture under them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymizer.faces import motion
from anonymizer.faces.motion import Flow, patches
from anonymizer.frame import F32, U8

POINTS = np.random.default_rng(1).uniform((100, 90), (170, 180), (1, 200, 2)).astype(np.float32)
MIDDLE = (135.0, 135.0)


def texture(seed: int = 3) -> U8:
    rng = np.random.default_rng(seed)
    grey = cv2.GaussianBlur(rng.integers(0, 256, (280, 280)).astype(np.float32), (0, 0), 4)
    return np.asarray(np.clip((grey - grey.mean()) * 6 + 128, 0, 255), np.uint8)


def turn(degrees: float = 0, scale: float = 1, x: float = 0, y: float = 0) -> F32:
    """float32 (2, 3): where a place of the first picture lies in the second one, in pixel centres."""
    matrix = cv2.getRotationMatrix2D((MIDDLE[0] - 0.5, MIDDLE[1] - 0.5), degrees, scale)
    return np.asarray(np.add(matrix, [[0, 0, x], [0, 0, y]]), np.float32)


def moved(before: U8, matrix: F32) -> U8:
    return np.asarray(cv2.warpAffine(before, matrix, before.shape[::-1], borderMode=cv2.BORDER_REFLECT), np.uint8)


def carried(before: U8, after: U8, points: F32 = POINTS) -> F32 | None:
    """The points as they are carried; None where they are not."""
    points = points.copy()
    if not Flow().carry(points, patches(points, before), after).all():
        np.testing.assert_array_equal(points, POINTS)
        return None
    return points


TURNS = [turn(), turn(x=1.5, y=-2), turn(degrees=3), turn(scale=1.03), turn(2, 0.98, -5, 4)]


@pytest.mark.parametrize("matrix", TURNS)
def test_points_are_carried_as_the_picture_moves(matrix: F32) -> None:
    before = texture()
    found = carried(before, moved(before, matrix))
    # Places count from the first pixel's corner, the matrix from its middle.
    expected = (POINTS[0] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    assert found is not None and np.abs(found[0] - expected).mean() < 0.4


def test_a_hand_before_part_of_the_face_takes_no_points_along() -> None:
    before = texture()
    after = moved(before, turn(x=2))
    after[155:215, 60:220] = moved(texture(5), turn(x=-4))[155:215, 60:220]
    found = carried(before, after)
    assert found is not None and np.abs(found - POINTS - (2, 0)).mean() < 0.5


def test_a_picture_of_something_else_or_of_another_size_carries_nothing() -> None:
    assert carried(texture(), texture(9)) is None
    assert carried(texture(), texture()[:150, :150]) is None


def test_small_faces_have_no_patch_and_no_faces_no_motion() -> None:
    low = MIDDLE - (POINTS[0] - MIDDLE) * 0.2
    assert patches(low[None].astype(np.float32), texture()) == [None]
    assert not len(Flow().carry(np.zeros((0, 200, 2), np.float32), [], texture()))


def test_patches_end_where_the_picture_does() -> None:
    (patch,) = patches(POINTS - np.float32(90), texture())
    assert patch is not None and patch.rectangle[:2] == (0, 0) and patch.luma.shape == motion.CELLS[::-1]
