"""What surrounds a drawn face moves towards it; the face itself, and what is far away, do not."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.frame import F32, Planes
from anonymizer.synthesis import outline
from anonymizer.synthesis.embedded import EmbeddedSwapper
from anonymizer.synthesis.paint import paint
from tests.synthesis.heads import bank, face_of, head, noise
from tests.synthesis.test_paint import Anyone


def away(planes: Planes, points: F32) -> F32:
    """float32 (height, width): each pixel's distance from the face's middle, 1 on the outline."""
    middle, axes = outline.ellipse(points)
    x = np.arange(planes.width) + 0.5 - middle[0]
    y = (np.arange(planes.height) + 0.5)[:, None] - middle[1]
    across, down = ((x * a[0] + y * a[1]) / (a @ a) for a in axes)
    return np.asarray(np.hypot(across, down), np.float32)


@pytest.mark.parametrize("size", [120, 201])
def test_only_a_ring_around_the_face_moves(size: int) -> None:
    _, points = head(size)
    planes = noise(size, size)
    before = planes.copy()
    outline.pinch(planes, outline.ellipse(points))
    distance = away(planes, points)
    still = (distance < outline.INNER - 0.1) | (distance > outline.OUTER + 0.1)
    assert (planes.y[still] == before.y[still]).all()
    ring = (distance > 0.95) & (distance < 1.25)
    assert (planes.y[ring] != before.y[ring]).mean() > 0.9


def test_it_moves_inwards_and_shows_no_place_twice() -> None:
    size = 240
    _, points = head(size)
    planes = noise(size, size)
    distance = away(planes, points)
    planes.y[:] = np.clip(100 * distance, 0, 255).astype(np.uint8)
    outline.pinch(planes, outline.ellipse(points))
    on_it = np.abs(distance - outline.FULL) < 0.02
    assert planes.y[on_it].mean() == pytest.approx(100 * outline.FULL * (1 + outline.PINCH), abs=2)
    row = planes.y[round(float(points[:, 1].mean())), round(float(points[:, 0].mean())) :].astype(int)
    assert (np.diff(row) >= -1).all()


@pytest.mark.parametrize("shift", [(-70, 0), (70, 10), (0, -90), (500, 0)])
def test_faces_at_the_edge_of_a_picture_of_odd_size(shift: tuple[int, int]) -> None:
    _, points = head(160)
    planes = noise(161, 159)
    outline.pinch(planes, outline.ellipse(points + np.array(shift, np.float32)))
    assert planes.y.shape == (159, 161) and planes.u.shape == (80, 81)


def test_a_face_that_is_kept_nearby_is_not_touched() -> None:
    planes, points = head(160)
    swapper = EmbeddedSwapper(bank().model)
    one = face_of(points)
    x, y, w, h = one.box
    kept = face_of(points, track=2, action="keep")
    kept.box = (x + 1.15 * w, y, 30.0, h)
    beside = slice(int(y), int(y + h)), slice(int(x + 1.15 * w) + 2, int(x + 1.15 * w) + 28)
    planes.y[beside] = noise(160, 160).y[beside]
    before, alone = planes.copy(), planes.copy()
    paint(planes, [one, kept], swapper, Anyone(), 0.0)
    assert one.method == "replace" and (planes.y[beside] == before.y[beside]).all()
    paint(alone, [face_of(points)], swapper, Anyone(), 0.0)
    assert (alone.y[beside] != before.y[beside]).any()


def test_where_faces_overlap_none_is_drawn_in(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(outline, "pinch", lambda planes, around: asked.append(float(around.middle[0])))
    planes, points = head(160)
    swapper = EmbeddedSwapper(bank().model)
    paint(planes.copy(), [face_of(points)], swapper, Anyone(), 0.0)
    assert len(asked) == 1
    other = face_of(points, track=2, action="solid")
    x, y, w, h = other.box
    other.box = (x + 0.9 * w, y, w, h)
    paint(planes.copy(), [face_of(points), other], swapper, Anyone(), 0.0)
    assert len(asked) == 1
