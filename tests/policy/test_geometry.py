"""Boxes against polygons, checked by sampled points, and the traps."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.policy import geometry

SQUARE = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))
NOTCH = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.5, 0.3), (0.1, 0.9))
fractions = st.floats(-0.2, 1.2)


@st.composite
def rects(draw: st.DrawFn) -> geometry.Rect:
    x, y = draw(fractions), draw(fractions)
    return x, y, x + draw(st.floats(0.01, 0.6)), y + draw(st.floats(0.01, 0.6))


def points(rect: geometry.Rect, n: int = 15) -> list[geometry.Point]:
    left, top, right, bottom = rect
    steps = [i / (n - 1) for i in range(n)]
    return [(left + (right - left) * s, top + (bottom - top) * t) for s in steps for t in steps]


@settings(deadline=None)
@given(st.sampled_from([SQUARE, NOTCH]), rects())
def test_inside_and_overlap_agree_with_sampled_points(polygon: geometry.Polygon, rect: geometry.Rect) -> None:
    met = [geometry.contains(polygon, x, y) for x, y in points(rect)]
    if any(met):
        assert geometry.overlaps(polygon, rect)
    if geometry.inside(polygon, rect):
        assert all(met) and geometry.overlaps(polygon, rect)
    if not geometry.overlaps(polygon, rect):
        corners_inside = any(rect[0] <= x <= rect[2] and rect[1] <= y <= rect[3] for x, y in polygon)
        assert not any(met) and not corners_inside


def test_a_box_that_covers_the_whole_zone_overlaps_it() -> None:
    """Its bottom centre, and all its corners, are outside."""
    assert geometry.overlaps(SQUARE, (0.0, 0.0, 1.0, 1.0))
    assert not geometry.inside(SQUARE, (0.0, 0.0, 1.0, 1.0))


def test_a_touch_counts_for_covering_and_against_keeping() -> None:
    assert geometry.overlaps(SQUARE, (0.0, 0.0, 0.2, 0.2))
    assert geometry.overlaps(SQUARE, (0.8, 0.3, 0.9, 0.4))
    assert not geometry.inside(SQUARE, (0.2, 0.3, 0.4, 0.4))
    assert geometry.inside(SQUARE, (0.21, 0.3, 0.4, 0.4))


def test_a_box_across_a_notch_is_not_inside_though_its_corners_are() -> None:
    across = (0.15, 0.2, 0.85, 0.5)
    assert all(geometry.contains(NOTCH, x, y) for x in (across[0], across[2]) for y in (across[1], across[3]))
    assert not geometry.inside(NOTCH, across)


def test_shapes() -> None:
    assert geometry.area(SQUARE) == geometry.area(SQUARE[::-1]) * -1 != 0
    assert geometry.convex(SQUARE) and geometry.convex(SQUARE[::-1]) and not geometry.convex(NOTCH)
    assert not geometry.crosses_itself(SQUARE) and not geometry.crosses_itself(NOTCH)
    assert geometry.crosses_itself(((0, 0), (1, 1), (1, 0), (0, 1)))
    assert geometry.crosses_itself(((0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)))


@settings(deadline=None)
@given(
    st.sampled_from([SQUARE, NOTCH, SQUARE[::-1]]),
    st.sampled_from([SQUARE, NOTCH]),
    st.floats(0.05, 1.2),
    fractions,
    fractions,
)
def test_within_is_never_wrongly_claimed(
    large: geometry.Polygon, shape: geometry.Polygon, scale: float, dx: float, dy: float
) -> None:
    small = tuple((x * scale + dx - 0.3, y * scale + dy - 0.3) for x, y in shape)
    if not geometry.within(small, large):
        return
    rng = random.Random(1)
    for _ in range(200):
        x, y, size = rng.random(), rng.random(), rng.choice([0.001, 0.02, 0.1])
        rect = x, y, x + size, y + size
        assert not geometry.inside(small, rect) or geometry.inside(large, rect)
        assert not geometry.overlaps(small, rect) or geometry.overlaps(large, rect)


def test_within_finds_the_plain_cases() -> None:
    assert geometry.within(SQUARE, SQUARE) and geometry.within(NOTCH, NOTCH)
    assert geometry.within(((0.3, 0.3), (0.5, 0.3), (0.5, 0.5)), SQUARE)
    assert geometry.within(((0.2, 0.2), (0.5, 0.2), (0.5, 0.8), (0.2, 0.8)), SQUARE)
    assert geometry.within(((0.2, 0.15), (0.3, 0.15), (0.3, 0.25)), NOTCH)
    across = ((0.15, 0.6), (0.85, 0.6), (0.5, 0.2))  # all corners in, but not the side between the arms
    assert all(geometry.contains(NOTCH, *corner) for corner in across) and not geometry.within(across, NOTCH)
    assert not geometry.within(SQUARE, ((0.3, 0.3), (0.5, 0.3), (0.5, 0.5)))


def test_grown_and_touch() -> None:
    assert geometry.grown((0.0, 0.0, 1.0, 2.0), 0.5) == (-0.5, -1.0, 1.5, 3.0)
    assert geometry.touch((0, 0, 1, 1), (1, 1, 2, 2)) and not geometry.touch((0, 0, 1, 1), (1.1, 0, 2, 1))
    assert geometry.bounds(NOTCH) == (0.1, 0.1, 0.9, 0.9)
