"""The detector's five points against the landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.faces import topology
from anonymizer.faces.agreement import BESIDE, breadth_of, doubt
from tests.synthesis.heads import head


@pytest.mark.parametrize(("degrees", "least", "most"), [(0, 0.85, 1.15), (45, 0.55, 0.8), (75, 0.1, 0.4)])
def test_a_turned_face_is_less_broad_however_it_lies(degrees: float, least: float, most: float) -> None:
    front = np.array([[-0.5, 0, 0.1], [0.5, 0, 0.1], [0, 0.55, -0.5], [-0.4, 1, 0], [0.4, 1, 0]])
    yaw, roll = np.radians(degrees), np.radians(35)
    turned = np.column_stack([front[:, 0] * np.cos(yaw) - front[:, 2] * np.sin(yaw), front[:, 1]])
    tilt = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    assert least < breadth_of((30 * turned + 100).astype(np.float32)) < most
    assert breadth_of((30 * turned @ tilt.T + 100).astype(np.float32)) == pytest.approx(
        breadth_of((30 * turned + 100).astype(np.float32)), abs=1e-3
    )
    assert breadth_of(np.zeros((5, 2), np.float32)) == 0


def test_landmarks_that_lie_elsewhere_are_doubted() -> None:
    _, landmarks = head(120)
    five, height = topology.five_points(landmarks[None])[0], float(np.ptp(landmarks[:, 1]))
    for believed, bound in zip((False, True), BESIDE, strict=True):
        near, far = (five + np.array([share * height, 0], np.float32) for share in (bound - 0.01, bound + 0.01))
        assert doubt(landmarks, five, believed) == doubt(landmarks, near, believed) == ""
        assert "points" in doubt(landmarks, far, believed)
    assert doubt(landmarks, five * np.float32(np.nan), True)
