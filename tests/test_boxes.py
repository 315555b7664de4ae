"""Boxes against boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer import boxes

BOX = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 15), st.integers(1, 15))


@given(BOX, st.lists(BOX, max_size=5))
def test_cover_by_a_union_is_what_counting_pixels_says(
    box: tuple[int, int, int, int], by: list[tuple[int, int, int, int]]
) -> None:
    x, y, w, h = box
    counted = boxes.mask(by, 40, 40)[y : y + h, x : x + w].mean()
    assert boxes.covered(box, by) == pytest.approx(counted)


def test_overlap() -> None:
    assert boxes.iou((0, 0, 10, 10), (0, 0, 10, 10)) == pytest.approx(1)
    assert boxes.iou((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert boxes.iou((0, 0, 10, 10), (10, 0, 10, 10)) == 0
    assert boxes.best((0, 0, 10, 10), [(50, 50, 5, 5), (1, 0, 10, 10)], 0.3) == 1
    assert boxes.best((0, 0, 10, 10), [(9, 9, 10, 10)], 0.3) is None
    assert boxes.best((0, 0, 10, 10), [], 0.3) is None


def test_masks_on_a_grid_hold_the_pictures_edge() -> None:
    assert boxes.mask([(-5, -5, 100, 100)], 30, 18, 4).all()
    assert boxes.mask([], 30, 18, 4).shape == (5, 8)
    assert not np.any(boxes.mask([(40, 40, 4, 4)], 30, 18))
