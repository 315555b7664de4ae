"""The pose is the turn that was applied to the mean face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.faces.pose import MEAN_FACE, RIGID, pose_of
from anonymizer.faces.topology import COUNT, MIRROR


def turned(yaw: float, pitch: float, roll: float, scale: float = 60, shift: tuple[float, ...] = (300, 200, 5)):
    a, b, c = np.radians([-pitch, -yaw, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    solid = np.zeros((1, COUNT, 3), np.float32)
    solid[0, RIGID] = scale * MEAN_FACE @ (about_z @ about_y @ about_x).T + shift
    return solid


@given(st.floats(-75, 75), st.floats(-60, 60), st.floats(-170, 170), st.floats(5, 400))
def test_recovers_every_turn(yaw: float, pitch: float, roll: float, scale: float) -> None:
    assert pose_of(turned(yaw, pitch, roll, scale))[0] == pytest.approx([yaw, pitch, roll], abs=0.1)


def test_signs_as_documented() -> None:
    nose = int(np.argmin(MEAN_FACE[:, 2]))
    straight = turned(0, 0, 0)[0, RIGID[nose]]
    assert turned(30, 0, 0)[0, RIGID[nose], 0] > straight[0], "positive yaw moves the nose to the picture's right"
    assert turned(0, 20, 0)[0, RIGID[nose], 1] < straight[1], "positive pitch moves the nose up"


def test_mirror_negates_yaw_and_roll() -> None:
    solid = turned(25, 10, 15)
    mirrored = solid[:, MIRROR].copy()
    mirrored[:, :, 0] *= -1
    assert pose_of(mirrored)[0] == pytest.approx([-25, 10, -15], abs=0.1)


def test_noise_moves_it_little() -> None:
    rng = np.random.default_rng(0)
    solid = np.repeat(turned(20, -5, 8), 50, 0) + rng.normal(0, 1.5, (50, COUNT, 3)).astype(np.float32)
    assert np.abs(pose_of(solid) - [20, -5, 8]).max() < 3
