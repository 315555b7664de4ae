"""Triangles drawn as spans: exact, without gaps, the later one in front."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.synthesis import warp

BEHIND = np.array([[[0, 0, -1], [0, 0, -1]]], np.float32)


def grid(side: int, cells: int, seed: int) -> np.ndarray:
    """float32 (t, 3, 2): a square of that side, cut into triangles whose inner corners are shifted at random."""
    random = np.random.default_rng(seed)
    steps = np.linspace(0, side, cells + 1)
    points = np.stack(np.meshgrid(steps, steps), 2)
    points[1:-1, 1:-1] += random.uniform(-0.35, 0.35, (cells - 1, cells - 1, 2)) * side / cells
    a, b, c, d = (points[i : cells + i, j : cells + j] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    return np.concatenate([np.stack(t, 2).reshape(-1, 3, 2) for t in ((a, b, c), (b, d, c))]).astype(np.float32)


@given(side=st.integers(3, 90), cells=st.integers(1, 9), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_an_affine_map_comes_back_at_every_pixel(side: int, cells: int, seed: int) -> None:
    corners = grid(side, cells, seed)
    values = corners @ np.array([[0.5, -0.25], [0.1, 2.0]], np.float32) + np.array([3, -7], np.float32)
    (found,) = warp.maps(corners, values, np.zeros(len(corners), np.int64), [(side, side)], BEHIND)
    y, x = np.mgrid[:side, :side] + 0.5
    assert np.abs(found[..., 0] - (0.5 * x + 0.1 * y + 3)).max() < 1e-3
    assert np.abs(found[..., 1] - (-0.25 * x + 2.0 * y - 7)).max() < 2e-3


def test_what_no_triangle_covers_shows_the_plane_behind() -> None:
    corners = np.array([[[2, 2], [6, 2], [2, 6]]], np.float32)
    behind = np.array([[[1, 0, 0.5], [0, 1, -0.5]]], np.float32)
    (found,) = warp.maps(corners, np.full((1, 3, 2), 77, np.float32), np.zeros(1, np.int64), [(9, 7)], behind)
    drawn = found[..., 0] == 77
    assert drawn[2, 2] and drawn[2, 4] and not drawn[3, 5] and drawn.sum() == 6
    assert found[6, 8].tolist() == [9.0, 6.0]


def test_the_later_triangle_is_in_front_and_canvases_are_apart() -> None:
    corners = np.array([[[0, 0], [8, 0], [0, 8]]] * 3, np.float32)
    values = np.ones((3, 3, 2), np.float32) * np.array([1, 2, 3], np.float32)[:, None, None]
    first, second = warp.maps(corners, values, np.array([0, 0, 1]), [(8, 8), (5, 3)], np.repeat(BEHIND, 2, 0))
    assert first[0, 0, 0] == 2 and second[0, 0, 0] == 3 and second.shape == (3, 5, 2)


def test_triangles_beyond_the_canvas_are_cut() -> None:
    corners = np.array([[[-50, -50], [80, -40], [-40, 90]]], np.float32)
    (found,) = warp.maps(corners, np.full((1, 3, 2), 5, np.float32), np.zeros(1, np.int64), [(10, 10)], BEHIND)
    assert (found == 5).all()


def test_a_flat_triangle_draws_nothing() -> None:
    corners = np.array([[[0, 0], [4, 4], [8, 8]]], np.float32)
    (found,) = warp.maps(corners, np.full((1, 3, 2), 5, np.float32), np.zeros(1, np.int64), [(9, 9)], BEHIND)
    assert (found == -1).all()


def test_signed_area_turns_with_the_corners() -> None:
    triangle = np.array([[0, 0], [2, 0], [0, 3]], np.float32)
    assert warp.signed_areas(triangle[None])[0] == 6 and warp.signed_areas(triangle[None, ::-1])[0] == -6
