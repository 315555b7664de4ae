"""The motion of a picture under a face: what the field says, where it is to be trusted, what explains it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymizer.faces import motion
from anonymizer.faces.motion import Flow, carry, patches
from anonymizer.frame import F32, U8, Motion

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


def seen(before: U8, after: U8) -> Motion | None:
    (patch,) = patches(POINTS, before)
    assert patch is not None
    (found,) = Flow()([(patch, 1.5)], after)
    return found


TURNS = [turn(), turn(x=1.5, y=-2), turn(degrees=3), turn(scale=1.03), turn(2, 0.98, -5, 4)]


@pytest.mark.parametrize("matrix", TURNS)
def test_motion_says_where_the_picture_was_and_points_are_carried_by_it(matrix: F32) -> None:
    before, points = texture(), POINTS.copy()
    found = seen(before, moved(before, matrix))
    assert found is not None and found.since == 1.5
    assert found.trust.shape == (48, 40) and found.trust[6:-6, 6:-6].mean() > 0.9
    # Places count from the first pixel's corner, the matrix from its middle.
    expected = (POINTS[0] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    assert np.abs(expected @ found.back[:, :2].T + found.back[:, 2] - POINTS[0]).mean() < 0.4
    assert carry(points, [found]).all()
    assert np.abs(points[0] - expected).mean() < 0.4


def test_nothing_is_trusted_where_something_else_came_into_view() -> None:
    before = texture()
    after = before.copy()
    after[150:210, 60:220] = texture(9)[150:210, 60:220]
    found = seen(before, after)
    assert found is not None
    y0, y1 = found.rectangle[1], found.rectangle[3]
    cut = round((150 - y0) / (y1 - y0) * 48)
    assert found.trust[: cut - 3].mean() > 0.9 and found.trust[cut + 3 :].mean() < 0.4


def test_a_hand_before_part_of_the_face_takes_no_points_along() -> None:
    before = texture()
    after, points = moved(before, turn(x=2)), POINTS.copy()
    after[155:215, 60:220] = moved(texture(5), turn(x=-4))[155:215, 60:220]
    assert carry(points, [seen(before, after)]).all()
    assert np.abs(points - POINTS - (2, 0)).mean() < 0.5


@pytest.mark.parametrize("after", [texture(9), np.zeros((280, 280), np.uint8)], ids=["another picture", "nothing"])
def test_what_no_motion_explains_carries_no_points(after: U8) -> None:
    found, points = seen(texture(), after), POINTS.copy()
    if found is not None:
        assert found.trust.mean() < 0.3
    carry(points, [None])
    np.testing.assert_array_equal(points, POINTS)


def test_small_faces_have_no_patch_and_no_faces_no_motion() -> None:
    low = MIDDLE - (POINTS[0] - MIDDLE) * 0.2
    assert patches(low[None].astype(np.float32), texture()) == [None]
    assert Flow()([], texture()) == []
    assert not len(carry(np.zeros((0, 200, 2), np.float32), []))


def test_patches_end_where_the_picture_does() -> None:
    (patch,) = patches(POINTS - np.float32(90), texture())
    assert patch is not None and patch.rectangle[:2] == (0, 0) and patch.luma.shape == motion.CELLS[::-1]
