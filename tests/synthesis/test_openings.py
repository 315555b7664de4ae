"""Eyes and mouths are drawn further open or shut than the landmarks say, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.faces import topology
from anonymizer.synthesis import openings
from anonymizer.synthesis.preview import View, expressed, turned
from tests.synthesis.heads import person

EYES = (topology.EYELIDS_RIGHT, topology.EYELIDS_LEFT)


def points(view: View) -> np.ndarray:
    return turned(expressed(person(3).shape, view), view, 60, (100, 100))[None]


def opening(p: np.ndarray, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    upper, lower, corners = (p[0, part] for part in pairs)
    return float(np.linalg.norm(upper - lower, axis=1).mean() / np.linalg.norm(corners[1] - corners[0]))


def with_eyes(wanted: float) -> np.ndarray:
    """A face whose eyes are so far open."""
    face = points(View())
    for outline, pairs in ((topology.EYE_RIGHT, EYES[0]), (topology.EYE_LEFT, EYES[1])):
        upper, lower = outline[:8:-1], outline[1:8]
        middle = (face[0, upper] + face[0, lower]) / 2
        share = wanted / opening(face, pairs)
        face[0, upper], face[0, lower] = (middle + share * (face[0, edge] - middle) for edge in (upper, lower))
    return face


@pytest.mark.parametrize(("seen", "wanted"), [(0.27, 0.27), (0.2, 0.046), (0.3, 0.366), (0.16, 0.016)])
def test_eyes_are_drawn_further_from_rest(seen: float, wanted: float) -> None:
    after = openings.drawn(with_eyes(seen))
    for pairs in EYES:
        assert opening(after, pairs) == pytest.approx(wanted, abs=0.02)


def test_a_mouth_opens_wider_and_a_shut_one_stays() -> None:
    shut, wide = points(View()), points(View(mouth=0.3))
    assert opening(shut, topology.MOUTH) < openings.SHUT
    mouth = np.concatenate([topology.LIPS_INNER, topology.LIPS_OUTER])
    assert np.abs(openings.drawn(shut) - shut)[0, mouth].max() < 1e-4
    before = opening(wide, topology.MOUTH)
    after = opening(openings.drawn(wide), topology.MOUTH)
    assert after == pytest.approx(before + 0.5 * (before - openings.SHUT), rel=0.08)
    # Lips keep their thickness.
    lip = topology.points(14, 17)
    thick = [np.linalg.norm(np.diff(p[0, lip], axis=0)) for p in (wide, openings.drawn(wide))]
    assert thick[1] == pytest.approx(thick[0], rel=0.02)


def test_only_lids_and_lips_move_and_the_argument_stays() -> None:
    before = np.concatenate([with_eyes(0.2), points(View(mouth=0.3, yaw=20))])
    kept = before.copy()
    after = openings.drawn(before)
    assert np.array_equal(before, kept) and after.dtype == np.float32
    still = np.setdiff1d(
        np.arange(topology.COUNT),
        np.concatenate([topology.EYE_RIGHT, topology.EYE_LEFT, topology.LIPS_INNER, topology.LIPS_OUTER]),
    )
    corners = topology.points(33, 133, 362, 263, 61, 291, 78, 308)
    assert np.array_equal(after[:, still], before[:, still]) and np.array_equal(after[:, corners], before[:, corners])
    assert np.abs(after - before).reshape(2, -1).max(1).min() > 0.5


def test_it_turns_and_grows_with_the_face_and_points_that_fall_together_do_no_harm() -> None:
    face = points(View(eyes=0.5, mouth=0.3))
    turn = 3 * np.array([[0.6, 0.8], [-0.8, 0.6]], np.float32)
    np.testing.assert_allclose(openings.drawn(face @ turn), openings.drawn(face) @ turn, atol=0.02)
    assert np.isfinite(openings.drawn(np.zeros_like(face))).all()
