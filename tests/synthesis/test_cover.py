"""Covers hide the whole box, leave the rest alone, and keep nothing that could be undone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.frame import Box, Planes
from anonymizer.synthesis import cover
from tests.synthesis.heads import head, likeness, noise

COVERS: dict[str, Callable[[Planes, Box, float], Box | None]] = {
    "solid": cover.solid,
    "pixelate": cover.pixelate,
    "blur": cover.blur,
    "silhouette": cover.silhouette,
}
MARGINS = (0.0, 0.1, 0.3)
BOXES = st.tuples(st.floats(-40, 150), st.floats(-40, 110), st.floats(4, 90), st.floats(4, 90))


@pytest.mark.parametrize("name", COVERS)
@given(box=BOXES, margin=st.sampled_from(MARGINS))
@settings(max_examples=40, deadline=None)
def test_nothing_outside_the_painted_rectangle_changes_much(name: str, box: Box, margin: float) -> None:
    planes = noise(157, 121)
    before = planes.copy()
    painted = COVERS[name](planes, box, margin)
    changed = planes.y != before.y
    if painted is None:
        assert not changed.any()
        return
    x, y, w, h = painted
    assert x >= 0 and y >= 0 and x + w <= 157 and y + h <= 121
    # Beyond the rectangle lie only soft edges: of the blur, one pixel of the others, and of a flat box's shoulders the
    # part of a row that their slope covers by less than half.
    soft = 3 + (0.2 * max(box[2:]) if name == "blur" else box[2] / box[3] if name == "silhouette" else 0)
    rows, columns = np.nonzero(changed)
    if len(rows):
        assert rows.min() >= y - soft and rows.max() <= y + h + soft
        assert columns.min() >= x - soft and columns.max() <= x + w + soft


@pytest.mark.parametrize("name", COVERS)
@given(box=BOXES, margin=st.sampled_from(MARGINS))
@settings(max_examples=40, deadline=None)
def test_the_whole_box_is_painted_and_reported(name: str, box: Box, margin: float) -> None:
    planes = noise(157, 121)
    before = planes.copy()
    painted = COVERS[name](planes, box, margin)
    x, y, w, h = box
    x0, y0, x1, y1 = max(0, round(x)), max(0, round(y)), min(157, round(x + w)), min(121, round(y + h))
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    assert painted is not None
    assert painted[0] <= x0 + 1 and painted[0] + painted[2] >= x1 - 1
    assert painted[1] <= y0 + 1 and painted[1] + painted[3] >= y1 - 1
    inside = planes.y[y0:y1, x0:x1] != before.y[y0:y1, x0:x1]
    # A covered pixel keeps its value by chance only: one in many, but of 20 now and then two.
    assert np.count_nonzero(~inside) <= 2 + 0.05 * inside.size


@pytest.mark.parametrize("margin", MARGINS)
def test_solid_leaves_one_colour_in_the_box(margin: float) -> None:
    planes = noise(120, 100)
    cover.solid(planes, (30, 20, 50, 60), margin)
    for plane, part in ((planes.y, (slice(20, 80), slice(30, 80))), (planes.u, (slice(10, 40), slice(15, 40)))):
        assert len(np.unique(plane[part])) == 1
    assert 100 < planes.y[50, 50] < 155  # the mean of the noise, not black


@pytest.mark.parametrize("size", [(40, 52), (13, 17), (150, 200)])
def test_pixelate_has_cells_of_a_sixth_of_the_face_or_more(size: tuple[int, int]) -> None:
    planes = noise(400, 400)
    w, h = size
    painted = cover.pixelate(planes, (100, 100, w, h), 0.1)
    assert painted is not None
    x, y, pw, ph = (int(v) for v in painted)
    for plane, step in ((planes.y, 1), (planes.u, 2)):
        part = plane[y // step : (y + ph) // step, x // step : (x + pw) // step].astype(int)
        for line in (part[len(part) // 2], part[:, part.shape[1] // 2]):
            runs = np.diff(np.flatnonzero(np.concatenate([[True], np.diff(line) != 0, [True]])))
            assert runs.min() >= max(w, h) / 6 / step - 1


@pytest.mark.parametrize("name", ["solid", "pixelate", "blur"])
def test_covers_keep_no_fine_detail(name: str) -> None:
    """Two pictures with the same means over a fifth of the face differ in detail, and look the same when covered."""
    box = (60.0, 50.0, 60.0, 60.0)
    first = Planes(*(np.full(shape, 128, np.uint8) for shape in ((200, 200), (100, 100), (100, 100))))
    second = first.copy()
    stripes = 60 * (np.arange(200) // 2 % 2 * 2 - 1)
    second.y[:] = np.clip(128 + stripes, 0, 255)
    for planes in (first, second):
        COVERS[name](planes, box, 0.1)
    part = slice(52, 108), slice(62, 118)
    difference = np.abs(first.y[part].astype(int) - second.y[part])
    assert difference.max() <= 12


@pytest.mark.parametrize("name", ["solid", "pixelate", "blur", "silhouette"])
@pytest.mark.parametrize("size", [48, 160])
def test_a_covered_face_is_not_like_itself(name: str, size: int) -> None:
    planes, landmarks = head(size)
    before = planes.copy()
    (x0, y0), (x1, y1) = landmarks.min(0), landmarks.max(0)
    box = float(x0), float(y0), float(x1 - x0), float(y1 - y0)
    assert likeness(before, planes, box) > 0.99  # so it would be without a cover
    COVERS[name](planes, box, 0.1)
    assert likeness(before, planes, box) < 0.6


def test_polygon_and_privacy_leave_nothing() -> None:
    planes = noise(90, 70)
    before = planes.copy()
    painted = cover.polygon(planes, np.array([[10, 10], [60, 12], [40, 50]], np.float32))
    assert painted is not None and painted[0] <= 11 and painted[2] >= 48
    assert (planes.y[15:30, 35:42] == cover.BLANK).all() and (planes.u[8:15, 18:21] == 128).all()
    assert np.array_equal(planes.y[:, 66:], before.y[:, 66:])
    assert cover.privacy(planes) == (0, 0, 90, 70)
    assert all(len(np.unique(p)) == 1 for p in (planes.y, planes.u, planes.v))


@pytest.mark.parametrize("name", COVERS)
def test_a_box_outside_the_picture_paints_nothing(name: str) -> None:
    planes = noise(60, 60)
    before = planes.copy()
    assert COVERS[name](planes, (500, 500, 20, 20), 0.1) is None
    assert np.array_equal(planes.y, before.y) and np.array_equal(planes.v, before.v)
