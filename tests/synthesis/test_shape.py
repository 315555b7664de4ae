"""A face's own proportions are found and taken out; what it does with eyes and mouth stays."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.faces import topology
from anonymizer.synthesis.preview import View, expressed, turned
from anonymizer.synthesis.shape import Proportions
from tests.synthesis.heads import bank, person


@pytest.fixture(scope="module")
def proportions() -> Proportions:
    return Proportions(bank().model)


def points(number: int, view: View) -> np.ndarray:
    return turned(expressed(person(number).shape, view), view, 60, (100, 100))[None]


@pytest.mark.parametrize("view", [View(), View(yaw=25), View(pitch=10, roll=20)])
def test_what_is_a_persons_own_is_taken_out(proportions: Proportions, view: View) -> None:
    """Two people with their own proportions removed stand closer to each other than they did."""
    gaps = []
    for a, b in ((1, 2), (3, 4), (5, 6), (7, 8)):
        pair = np.concatenate([points(a, view), points(b, view)])
        turn, own = proportions.fit(pair)
        moved = pair + proportions.move(turn, -own)
        inner = np.concatenate([topology.BROW_RIGHT, topology.BROW_LEFT, topology.points(48, 278, 4, 9)])
        gaps.append([np.linalg.norm(p[0, inner] - p[1, inner], axis=1).mean() for p in (pair, moved)])
    before, after = np.mean(gaps, 0)
    assert after < 0.7 * before


def test_the_mean_face_has_nothing_of_its_own(proportions: Proportions) -> None:
    mean = turned(bank().model.shape_mean, View(), 60, (100, 100))[None]
    assert np.abs(proportions.fit(mean)[1]).max() < 0.05


def opening(p: np.ndarray, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    return float(np.linalg.norm(p[pairs[1]] - p[pairs[0]], axis=1).mean())


@pytest.mark.parametrize("view", [View(), View(eyes=0.1), View(mouth=0.4), View(yaw=30, mouth=0.2, roll=-15)])
def test_openings_stay_open_and_shut_ones_shut(proportions: Proportions, view: View) -> None:
    before = points(3, view)
    turn, own = proportions.fit(before)
    after = before + proportions.move(turn, person(8).coefficients[None] - own)
    assert np.abs(after - before)[0].max() > 2
    for pairs in (topology.EYELIDS_RIGHT, topology.EYELIDS_LEFT, topology.MOUTH):
        assert opening(after[0], pairs) == pytest.approx(opening(before[0], pairs), abs=1.0)
    moved = after[0, topology.IRIS_RIGHT] - before[0, topology.IRIS_RIGHT]
    assert np.abs(moved - (after - before)[0, topology.EYE_RIGHT].mean(0)).max() < 0.8


def test_the_outline_stays(proportions: Proportions) -> None:
    before = points(3, View())
    turn, own = proportions.fit(before)
    moved = proportions.move(turn, person(8).coefficients[None] - own)
    assert np.abs(moved[0, topology.OVAL]).max() < 1e-3


def test_faces_are_told_apart_in_a_batch(proportions: Proportions) -> None:
    pair = np.concatenate([points(1, View()), points(2, View(yaw=20))])
    _, together = proportions.fit(pair)
    for i in (0, 1):
        assert np.allclose(proportions.fit(pair[i : i + 1])[1][0], together[i], atol=1e-3)
