"""The sheet of sampled people: their poses and expressions are those asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymizer.faces import topology
from anonymizer.synthesis.bank import Bank, FaceModel
from anonymizer.synthesis.preview import VIEWS, View, expressed, placed, sheet, turned

FILE = Path(__file__).parents[2] / "models" / "face_model.npz"


@pytest.fixture(scope="module")
def people() -> Bank:
    return Bank(FaceModel.load(FILE), bytes(32))


def opening(points: np.ndarray, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    upper, lower, corners = pairs
    gap = np.linalg.norm(points[lower, :2] - points[upper, :2], axis=1).mean()
    return float(gap / np.linalg.norm(points[corners[0], :2] - points[corners[1], :2]))


def test_expressions_open_and_shut_what_they_say(people: Bank) -> None:
    for number in range(20):
        shape = people.identity("expression", number).shape
        assert opening(shape, topology.MOUTH) < 0.09
        assert opening(expressed(shape, View(mouth=0.35)), topology.MOUTH) > 0.25
        shut = expressed(shape, View(eyes=0.0))
        assert opening(shut, topology.EYELIDS_RIGHT) < 0.01 and opening(shut, topology.EYELIDS_LEFT) < 0.01
        looking = expressed(shape, View(gaze=0.2))
        assert looking[topology.IRIS_LEFT, 0] > shape[topology.IRIS_LEFT, 0]


def test_a_neutral_view_keeps_the_shape(people: Bank) -> None:
    person = people.identity("neutral")
    assert np.allclose(expressed(person.shape, View()), person.shape)
    seen = turned(person.shape, View(), 100, (0, 0))
    assert np.allclose(seen, 100 * (person.shape[:, :2] - [0, 0.35]), atol=1e-3)


def test_turns_go_the_way_the_signs_say(people: Bank) -> None:
    person = people.identity("turn")
    nose, front = topology.NOSE_TIP, placed(person, View(), 200)
    assert placed(person, View(yaw=30), 200)[nose, 0] > front[nose, 0] + 5
    assert placed(person, View(pitch=20), 200)[nose, 1] > front[nose, 1] + 5
    rolled = placed(person, View(roll=20), 200)
    assert rolled[topology.IRIS_LEFT, 1] > rolled[topology.IRIS_RIGHT, 1]


def test_the_sheet_shows_different_people_and_is_repeatable(people: Bank) -> None:
    first = sheet(people, 2, size=96, views=VIEWS[:2])
    assert first.shape == (192, 192, 3) and first.dtype == np.uint8
    assert np.array_equal(first, sheet(people, 2, size=96, views=VIEWS[:2]))
    assert np.abs(first[:96].astype(int) - first[96:]).mean() > 3
    assert not np.array_equal(first, sheet(people, 2, size=96, views=VIEWS[:2], seed="another"))
