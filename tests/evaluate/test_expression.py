"""What landmarks say, on the mean face moved by hand."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer import registry
from anonymizer.evaluate import expression
from anonymizer.faces import topology
from anonymizer.frame import F32
from anonymizer.synthesis.bank import FaceModel


@pytest.fixture(scope="module")
def face() -> F32:
    model = FaceModel.load(registry.resolve("face-model", "auto"))
    return (model.shape_mean[:, :2] * 60 + (200, 150)).astype(np.float32)


def turned(face: F32, degrees: float, scale: float) -> F32:
    c, s = np.cos(np.radians(degrees)) * scale, np.sin(np.radians(degrees)) * scale
    return (face @ np.array([[c, s], [-s, c]]) + (30, -12)).astype(np.float32)


def test_openings_and_gaze_do_not_depend_on_place_size_and_roll(face: F32) -> None:
    both = np.stack([face, turned(face, 25, 1.7)])
    for measure in (expression.mouth, expression.eyes, expression.gaze):
        first, second = measure(both)
        assert first == pytest.approx(second, abs=1e-4)


def test_an_open_mouth_is_open(face: F32) -> None:
    opened = face.copy()
    opened[topology.MOUTH[1], 1] += 20
    shut, wide = expression.mouth(np.stack([face, opened]))
    width = np.ptp(face[topology.MOUTH[2], 0])
    assert wide - shut == pytest.approx(20 / width, rel=0.15)


def test_gaze_follows_the_irises(face: F32) -> None:
    looking = face.copy()
    looking[[topology.IRIS_RIGHT, topology.IRIS_LEFT]] += (3, 2)
    before, after = expression.gaze(np.stack([face, looking]))
    width = np.ptp(face[topology.points(33, 133), 0])
    assert after - before == pytest.approx((3 / width, 2 / width), rel=0.1)


def test_distance_is_in_eye_distances(face: F32) -> None:
    eyes = topology.eye_centres(face[None])[0]
    unit = float(np.hypot(*(eyes[1] - eyes[0])))
    moved = face + np.array([0.1 * unit, 0], np.float32)
    assert expression.distance(face[None], moved[None])[0] == pytest.approx(0.1, rel=1e-3)
    assert expression.distance(face[None], face[None])[0] == 0
