"""The refiner: what it may see, where it may change something, and that a face stays replaced without it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from onnxruntime import InferenceSession

from anonymizer import registry
from anonymizer.errors import ModelError
from anonymizer.faces import topology
from anonymizer.frame import F32, U8, Planes
from anonymizer.synthesis import blend
from anonymizer.synthesis.embedded import EmbeddedSwapper
from anonymizer.synthesis.preview import View
from anonymizer.synthesis.refiner import CHANNELS, SIZE, Refiner, Rendered, load, refine, square, view
from anonymizer.synthesis.swapper import Drawing, Order
from tests.synthesis.heads import bank, head, noise, person


def shipped() -> Path:
    return registry.resolve("refiner", "auto")


def rendered(size: int, pose: View | None = None) -> Rendered:
    """A face drawn over a head."""
    planes, landmarks = head(size, pose)
    (drawing,) = EmbeddedSwapper(bank().model).draw([Order(planes, landmarks, None, person(5), 1)], 0.0)
    return Rendered(planes, drawing, landmarks)


def seen(face: Rendered) -> U8:
    return view(face, square(face.points))


class Says:
    """A net whose answer is known."""

    def __init__(self, luma: Callable[[U8], F32]) -> None:
        self.luma = luma

    def run(self, names: list[str], feeds: dict[str, U8]) -> list[F32]:
        faces = feeds["faces"]
        n = len(faces)
        return [self.luma(faces).astype(np.float32), np.zeros((n, 2, SIZE // 2, SIZE // 2), np.float32)]

    @property
    def session(self) -> InferenceSession:
        return cast(InferenceSession, self)


def brighter(faces: U8) -> F32:
    return np.full((len(faces), 1, SIZE, SIZE), 20.0, np.float32)


@pytest.mark.parametrize("size", [40, 120, 300, 900])
@pytest.mark.parametrize("pose", [View(), View(yaw=35, roll=20, mouth=0.3)])
def test_the_net_sees_nothing_of_the_face_under_the_mask(size: int, pose: View) -> None:
    """Another original inside the mask gives the very same input; another one outside does not."""
    face = rendered(size, pose)
    under = (face.drawing.weight > 0).astype(np.uint8)
    other, beside = noise(*face.crop.y.shape[::-1]), face.crop.copy()
    half = cv2.resize(under, face.crop.u.shape[::-1], interpolation=cv2.INTER_AREA)
    half = np.maximum(half, np.maximum.reduce([under[i::2, j::2] for i in (0, 1) for j in (0, 1)]))
    inside = face.crop.copy()
    for mine, theirs, mask in ((inside.y, other.y, under), (inside.u, other.u, half), (inside.v, other.v, half)):
        mine[mask > 0] = theirs[mask > 0]
    beside.y[under == 0] = 255 - beside.y[under == 0]
    assert np.abs(inside.y.astype(int) - face.crop.y)[under > 0].mean() > 30
    assert np.array_equal(seen(face), seen(face._replace(crop=inside)))
    assert not np.array_equal(seen(face), seen(face._replace(crop=beside)))


def test_what_it_sees_of_the_surroundings_is_coarse() -> None:
    """Detail beside the face is averaged away."""
    face = rendered(200)
    checks = face.crop.copy()
    y, x = np.mgrid[: checks.y.shape[0], : checks.y.shape[1]]
    outside = face.drawing.weight == 0
    checks.y[outside] = np.where((x + y) % 2 == 0, 160, 80)[outside]
    flat = face.crop.copy()
    flat.y[outside] = 120
    difference = np.abs(seen(face._replace(crop=checks))[0].astype(int) - seen(face._replace(crop=flat))[0])
    assert difference.max() <= 12


def test_it_sees_the_drawing_upright_with_its_features() -> None:
    for pose in (View(), View(roll=40)):
        face = rendered(240, pose)
        channels = seen(face)
        assert channels.shape == (CHANNELS, SIZE, SIZE) and channels.dtype == np.uint8
        _, _, _, mask, eyes, irises, lips, mouth = channels
        for feature in (eyes, irises, lips):
            assert feature.max() == 255 and mask[feature > 0].min() > 200
        assert np.all(irises <= eyes) and np.all(mouth <= lips)
        rows, columns = np.nonzero(eyes > 128)
        assert np.nonzero(lips > 128)[0].min() > rows.max()
        left, right = rows[columns < columns.mean()].mean(), rows[columns > columns.mean()].mean()
        assert abs(left - right) < 3


def test_both_ranges_look_alike_to_the_net() -> None:
    face = rendered(160)

    def limited(planes: Planes) -> Planes:
        y = np.rint(planes.y * (219 / 255) + 16).astype(np.uint8)
        u, v = (np.rint((p - 128.0) * (224 / 255) + 128).astype(np.uint8) for p in (planes.u, planes.v))
        return Planes(y, u, v, False)

    other = Rendered(limited(face.crop), Drawing(limited(face.drawing.planes), face.drawing.weight), face.points)
    assert np.abs(seen(face)[:3].astype(int) - seen(other)[:3]).max() <= 3
    bright, dim = (refine(Says(brighter).session, [one])[0].planes.y for one in (face, other))
    middle = tuple(v // 2 for v in bright.shape)
    assert int(bright[middle]) - int(face.drawing.planes.y[middle]) == 20
    assert int(dim[middle]) - int(other.drawing.planes.y[middle]) == 17


@pytest.mark.parametrize("size", [40, 160, 500])
def test_a_refined_face_is_another_one_and_stays_inside_its_mask(size: int) -> None:
    face = rendered(size)
    (refined,) = refine(load(shipped()), [face])
    assert np.array_equal(refined.weight, face.drawing.weight)
    change = np.abs(refined.planes.y.astype(int) - face.drawing.planes.y)
    core = face.drawing.weight > 250
    assert 0.5 < change[core].mean() < 25 and change.max() <= 57
    plain, better = face.crop.copy(), face.crop.copy()
    blend.lay(face.drawing, plain)
    blend.lay(refined, better)
    outside = face.drawing.weight == 0
    assert np.array_equal(plain.y[outside], better.y[outside]) and not np.array_equal(plain.y, better.y)
    rim = (face.drawing.weight > 0) & (face.drawing.weight < 40)
    assert change[rim].mean() < change[core].mean()


def test_the_original_under_the_mask_does_not_come_back() -> None:
    """What the net does to a drawing does not depend on the face under it."""
    face = rendered(160)
    other = face.crop.copy()
    other.y[face.drawing.weight > 0] = 255 - other.y[face.drawing.weight > 0]
    session = load(shipped())
    first, second = (refine(session, [one])[0] for one in (face, face._replace(crop=other)))
    assert np.array_equal(first.planes.y, second.planes.y)


def test_a_batch_gives_what_one_by_one_gives_and_places_the_change() -> None:
    faces = [rendered(90), rendered(160, View(yaw=20)), rendered(300, View(mouth=0.3, roll=15))]
    session = load(shipped())
    for face, drawing in zip(faces, refine(session, faces), strict=True):
        alone = refine(session, [face])[0]
        assert np.abs(alone.planes.y.astype(int) - drawing.planes.y).max() <= 1
    # A change of the eyes' openings alone lands on the eyes.
    for face in faces:
        (marked,) = refine(Says(lambda seen: seen[:, 4:5] / 5.0).session, [face])
        change = np.abs(marked.planes.y.astype(np.float32) - face.drawing.planes.y)
        rows, columns = np.nonzero(change > 8)
        eyes = face.points[np.concatenate([topology.EYE_RIGHT, topology.EYE_LEFT])]
        reach = 0.04 * np.ptp(face.points[:, 1]) + 2
        assert len(rows) and eyes[:, 0].min() - reach < columns.min() and columns.max() < eyes[:, 0].max() + reach
        assert eyes[:, 1].min() - reach < rows.min() and rows.max() < eyes[:, 1].max() + reach


@pytest.mark.parametrize("rectangle", [(0, 0, 131, 240), (90, 60, 240, 201), (60, 120, 180, 240)])
def test_a_face_at_the_pictures_edge_is_refined_as_far_as_it_is_seen(rectangle: tuple[int, int, int, int]) -> None:
    planes, landmarks = head(240)
    crop = planes.region(*rectangle)
    points = landmarks - np.array(rectangle[:2], np.float32)
    (drawing,) = EmbeddedSwapper(bank().model).draw([Order(crop, points, None, person(5), 1)], 0.0)
    (refined,) = refine(load(shipped()), [Rendered(crop, drawing, points)])
    for mine, theirs in zip(
        (refined.planes.y, refined.planes.u, refined.planes.v), (crop.y, crop.u, crop.v), strict=True
    ):
        assert mine.shape == theirs.shape
    core = drawing.weight > 250
    assert np.abs(refined.planes.y.astype(int) - drawing.planes.y)[core].mean() > 0.5


class Broken(Refiner):
    """Finds no model."""

    def __init__(self) -> None:
        super().__init__(self.nowhere)
        self.asked = 0

    def nowhere(self) -> Path:
        self.asked += 1
        raise ModelError("no refiner model is present")


def test_without_a_model_faces_are_replaced_all_the_same_and_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    planes, landmarks = head(120)
    refiner = Broken()
    swapper, plain = EmbeddedSwapper(bank().model, refiner=refiner), EmbeddedSwapper(bank().model)
    with caplog.at_level(logging.WARNING):
        for moment in (0.0, 0.04, 0.08):
            order = Order(planes, landmarks, None, person(5), 1, refine=True)
            (drawing,), (expected,) = swapper.draw([order], moment), plain.draw([order], moment)
            assert np.array_equal(drawing.planes.y, expected.planes.y)
    assert [r.message for r in caplog.records] == [
        "faces are replaced, but not refined: no refiner model is present"
    ] and refiner.asked == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_not_drawn(wrong: float, caplog: pytest.LogCaptureFixture) -> None:
    face = rendered(120)
    session = Says(lambda faces: np.full((len(faces), 1, SIZE, SIZE), wrong)).session
    with pytest.raises(ValueError, match="not finite"):
        refine(session, [face])
    refiner = Refiner(shipped)
    refiner._session = session
    for _ in range(2):
        assert refiner([face])[0] is face.drawing
    assert len(caplog.records) == 1


def test_only_faces_that_ask_are_refined_and_else_no_model_is_read() -> None:
    asked = []

    def find() -> Path:
        asked.append(1)
        return shipped()

    scenes = [head(120), head(140, View(yaw=20))]
    swapper, plain = EmbeddedSwapper(bank().model, refiner=Refiner(find)), EmbeddedSwapper(bank().model)
    orders = [Order(crop, points, None, person(i + 4), i) for i, (crop, points) in enumerate(scenes)]
    expected = plain.draw(orders, 0.0)
    for mine, theirs in zip(swapper.draw(orders, 0.0), expected, strict=True):
        assert np.array_equal(mine.planes.y, theirs.planes.y)
    assert not asked
    crop, points = scenes[1]
    orders[1] = Order(crop, points, None, person(5), 1, refine=True)
    first, second = EmbeddedSwapper(bank().model, refiner=Refiner(find)).draw(orders, 0.0)
    assert np.array_equal(first.planes.y, expected[0].planes.y) and asked == [1]
    assert not np.array_equal(second.planes.y, expected[1].planes.y)
