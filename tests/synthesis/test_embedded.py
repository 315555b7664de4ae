"""The embedded swapper on drawn heads: what it hides, what it follows, what it never looks at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from anonymizer.faces import topology
from anonymizer.frame import F32, Planes
from anonymizer.synthesis.bank import Identity
from anonymizer.synthesis.cosines import ORDERS
from anonymizer.synthesis.embedded import EmbeddedSwapper, Settings
from anonymizer.synthesis.preview import View
from anonymizer.synthesis.swapper import Drawing, Order
from tests.synthesis.heads import bank, eye_window, face_of, head, likeness, person

PLAIN = Settings(taken=0, given=0, tone=0, shades=0)
"""Features stay where the picture has them, so that tests find them."""


def draw(planes: Planes, landmarks: F32, number: int = 5, settings: Settings | None = None) -> Drawing:
    swapper = EmbeddedSwapper(bank().model, settings)
    (drawing,) = swapper.draw([Order(planes, landmarks, None, person(number), 1)], 0.0)
    return drawing


@pytest.mark.parametrize("size", [40, 64, 150, 301, 700])
def test_inner_features_are_replaced_whole_at_every_size(size: int) -> None:
    size += size & 1
    planes, landmarks = head(size)
    drawing = draw(planes, landmarks)
    assert drawing.planes.y.shape == planes.y.shape == drawing.weight.shape
    assert drawing.planes.u.shape == planes.u.shape == drawing.planes.v.shape
    for outline in (topology.EYE_RIGHT, topology.EYE_LEFT, topology.BROW_RIGHT, topology.LIPS_OUTER):
        for x, y in landmarks[outline].astype(int):
            assert drawing.weight[y, x] >= (255 if size > 40 else 250)
    # The smallest head's blend ends above the picture; what `reach` gives holds it, see below.
    assert size == 40 or drawing.weight[0].max() == 0
    assert drawing.weight[:, 0].max() == 0 and drawing.weight[:, -1].max() == 0


VIEWS = [View(), View(yaw=45), View(yaw=-45, roll=25), View(pitch=20, mouth=0.4)]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [40, 64, 150, 301, 700])
def test_the_blend_ends_within_reach(size: int, view: View) -> None:
    planes, landmarks = head(size + (size & 1), view)
    space = size // 4 * 2
    half = (space // 2, space // 2)
    wide = Planes(np.pad(planes.y, space, mode="edge"), np.pad(planes.u, half), np.pad(planes.v, half), True)
    swapper = EmbeddedSwapper(bank().model)
    x0, y0, x1, y1 = wide.clip(*swapper.reach(face_of(landmarks + space)))
    moved = np.asarray(landmarks + space - np.array([x0, y0]), np.float32)
    (drawing,) = swapper.draw([Order(wide.region(x0, y0, x1, y1), moved, None, person(5), 1)], 0.0)
    weight = drawing.weight
    assert 0 < x0 < x1 < wide.width and 0 < y0 < y1 < wide.height
    assert [int(edge.max()) for edge in (weight[0], weight[-1], weight[:, 0], weight[:, -1])] == [0, 0, 0, 0]
    assert weight.max() == 255


@pytest.mark.parametrize("view", VIEWS)
def test_the_blend_covers_what_recall_asks_for_and_little_more(view: View) -> None:
    planes, landmarks = head(240, view)
    x, y, w, h = cv2.boundingRect((draw(planes, landmarks).weight >= 128).view(np.uint8))
    (x0, y0), (x1, y1) = landmarks.min(0), landmarks.max(0)
    assert x <= x0 + 0.04 * (x1 - x0) and x + w >= x1 - 0.04 * (x1 - x0)
    assert y <= y0 and y + h >= y1 - 0.04 * (y1 - y0)
    assert w * h < 1.3 * (x1 - x0) * (y1 - y0)


@pytest.mark.parametrize("number", range(4, 12))
def test_the_drawing_is_not_like_the_original(number: int) -> None:
    planes, landmarks = head(160)
    drawing = draw(planes, landmarks, number)
    box = face_of(landmarks).box
    assert likeness(planes, planes, box) > 0.99
    assert likeness(planes, drawing.planes, box) < 0.75
    changed = np.abs(drawing.planes.y.astype(int) - planes.y)[drawing.weight > 250] > 8
    assert changed.mean() > 0.5


def test_original_detail_inside_the_face_leaves_no_trace() -> None:
    """Two originals with other features and the same low frequencies are replaced alike."""
    planes, landmarks = head(200, noise=5)
    other = planes.copy()
    x0, y0 = landmarks[topology.EYE_RIGHT].min(0).astype(int) - 4
    x1, y1 = landmarks[topology.EYE_LEFT].max(0).astype(int) + 4
    other.y[y0:y1, x0:x1] = other.y[y0:y1, x0:x1][:, ::-1][::-1]
    assert np.abs(other.y.astype(int) - planes.y)[y0:y1, x0:x1].mean() > 8
    first, second = draw(planes, landmarks), draw(other, landmarks)
    difference = np.abs(first.planes.y.astype(int) - second.planes.y)[first.weight > 250]
    assert difference.mean() < 2 and np.percentile(difference, 99) < 12


def test_crops_are_only_read_and_drawings_repeat() -> None:
    planes, landmarks = head(120)
    before = planes.copy()
    first, second = draw(planes, landmarks), draw(planes, landmarks)
    assert np.array_equal(planes.y, before.y) and np.array_equal(planes.u, before.u)
    assert np.array_equal(first.planes.y, second.planes.y) and np.array_equal(first.weight, second.weight)


def test_other_identities_give_other_faces_and_a_batch_the_same_as_one_by_one() -> None:
    scenes = [head(90), head(140, View(yaw=20)), head(260, View(mouth=0.3), 2)]
    orders = [Order(crop, points, None, person(i + 4), i) for i, (crop, points) in enumerate(scenes)]
    together = EmbeddedSwapper(bank().model).draw(orders, 0.0)
    for order, drawing in zip(orders, together, strict=True):
        alone = EmbeddedSwapper(bank().model).draw([order], 0.0)[0]
        assert np.abs(alone.planes.y.astype(int) - drawing.planes.y).max() <= 1
    planes, landmarks = scenes[1]
    a, b = draw(planes, landmarks, 5), draw(planes, landmarks, 6)
    assert np.abs(a.planes.y.astype(int) - b.planes.y)[a.weight > 250].mean() > 6


def test_skin_is_lighter_and_darker_where_the_complexion_says_and_as_before_on_the_rim() -> None:
    planes, landmarks = head(240)
    plain, shaded = (
        EmbeddedSwapper(bank().model, dataclasses.replace(PLAIN, shades=shades)).draw([order], 0.0)[0].planes.y
        for shades in (0.0, 0.2)
        for order in [Order(planes, landmarks, None, brighter_below(), 1)]
    )
    change = cv2.blur(np.log(shaded.astype(np.float32) + 10) - np.log(plain.astype(np.float32) + 10), (9, 9))
    middle = landmarks[topology.OVAL].mean(0)
    at = {
        part: float(change[int(y), int(x)])
        for part, (x, y) in {
            "forehead": landmarks[topology.points(151)[0]],
            "right cheek": landmarks[topology.points(50)[0]],
            "left cheek": landmarks[topology.points(280)[0]],
            "chin": landmarks[topology.points(199)[0]],
            "right rim": middle + 0.98 * (landmarks[topology.points(132)[0]] - middle),
        }.items()
    }
    assert at["forehead"] < -0.08 and at["chin"] > 0.08
    assert at["right cheek"] == pytest.approx(at["left cheek"], abs=0.02)
    assert abs(at["right rim"]) < 0.6 * at["chin"]


def brighter_below() -> Identity:
    complexion = np.zeros_like(person(5).complexion)
    complexion[(ORDERS == (0, 1)).all(1)] = -1  # cos falls down the face
    return dataclasses.replace(person(5), complexion=complexion)


def darkness(drawing: Drawing, window: tuple[slice, slice]) -> np.ndarray:
    return 255 - drawing.planes.y[window].astype(float)


def test_the_iris_follows_the_gaze() -> None:
    places = []
    for gaze in (-0.2, 0.0, 0.2):
        planes, landmarks = head(240, View(gaze=gaze))
        dark = darkness(draw(planes, landmarks, settings=PLAIN), eye_window(landmarks))
        dark = np.maximum(dark - np.quantile(dark, 0.75), 0)
        places.append((dark.sum(0) * np.arange(dark.shape[1])).sum() / dark.sum() / dark.shape[1])
    assert places[0] + 0.06 < places[1] < places[2] - 0.06


def test_a_shut_eye_shows_no_ball_and_an_open_mouth_shows_its_inside() -> None:
    spreads = {}
    for eyes in (0.0, 1.0):
        planes, landmarks = head(240, View(eyes=eyes))
        rows, columns = eye_window(landmarks)
        window = slice(rows.start, max(rows.stop, rows.start + 3)), columns
        spreads[eyes] = float(np.ptp(draw(planes, landmarks, settings=PLAIN).planes.y[window].astype(int)))
    assert spreads[0.0] < 0.6 * spreads[1.0]
    planes, landmarks = head(240, View(mouth=0.4))
    x, y = landmarks[topology.points(13, 14)].mean(0).astype(int)
    drawing = draw(planes, landmarks, settings=PLAIN)
    cheek = drawing.planes.y[tuple(landmarks[topology.points(50)][0].astype(int)[::-1])]
    assert drawing.planes.y[y : y + 8, x - 4 : x + 4].mean() < 0.75 * cheek


@pytest.mark.parametrize("full_range", [True, False])
def test_light_and_colour_follow_the_original(full_range: bool) -> None:
    planes, landmarks = head(160)
    planes.full_range = full_range
    skin = tuple(landmarks[topology.points(50)][0].astype(int)[::-1])
    inside = draw(planes, landmarks).weight > 250
    means = []
    for factor in (0.5, 0.8):
        dimmed = planes.copy()
        dimmed.y[:] = planes.y * factor
        drawn = draw(dimmed, landmarks, settings=PLAIN).planes
        assert drawn.y[inside].mean() == pytest.approx(dimmed.y[inside].mean(), rel=0.12)
        means.append(drawn.y[inside].mean())
    assert means[0] < 0.75 * means[1]
    grey = planes.copy()
    grey.u[:], grey.v[:] = 128, 128
    drawn = draw(grey, landmarks).planes
    assert np.abs(drawn.u.astype(int) - 128).max() <= 2 and np.abs(drawn.v.astype(int) - 128).max() <= 2
    half = skin[0] // 2, skin[1] // 2
    coloured = draw(planes, landmarks).planes
    assert abs(int(coloured.v[half]) - int(planes.v[half])) < 10


def test_a_soft_picture_gets_a_soft_face_and_a_noisy_one_grain() -> None:
    planes, landmarks = head(200, noise=3)
    blurred = planes.copy()
    blurred.y[:] = cv2.GaussianBlur(planes.y, (0, 0), 3)
    inside = draw(planes, landmarks).weight > 250

    def fine(luma: np.ndarray) -> float:
        high = luma.astype(np.float32) - cv2.GaussianBlur(luma, (0, 0), 1.0)
        return float(high[inside].std())

    sharp, soft = draw(planes, landmarks).planes.y, draw(blurred, landmarks).planes.y
    assert fine(soft) < 0.4 * fine(sharp)
    assert fine(sharp) == pytest.approx(fine(planes.y), rel=0.4)


@pytest.mark.parametrize("cut", [(0, 0, 110, 160), (60, 30, 160, 160), (40, 0, 121, 97)])
def test_faces_cut_by_the_picture_are_drawn(cut: Sequence[int]) -> None:
    planes, landmarks = head(160)
    x0, y0, x1, y1 = cut
    drawing = draw(planes.region(x0, y0, x1, y1), landmarks - np.array([x0, y0], np.float32))
    assert drawing.planes.y.shape == (y1 - y0, x1 - x0)
    nose = landmarks[topology.NOSE_TIP] - (x0, y0)
    assert drawing.weight[int(nose[1]), int(nose[0])] == 255


def test_light_does_not_flicker_with_the_noise_of_the_samples() -> None:
    scenes = []
    random = np.random.default_rng(3)
    planes, landmarks = head(120)
    for _ in range(12):
        flicker = planes.copy()
        flicker.y[:] = np.clip(planes.y * random.uniform(0.9, 1.1), 0, 255)
        scenes.append(flicker)
    changes = {}
    for memory in (0.0, 1.0):
        swapper = EmbeddedSwapper(bank().model, Settings(memory=memory))
        means = [
            float(swapper.draw([Order(scene, landmarks, None, person(5), 1)], 0.04 * i)[0].planes.y[60, 60])
            for i, scene in enumerate(scenes)
        ]
        changes[memory] = np.abs(np.diff(means[3:])).mean()
    assert changes[1.0] < 0.6 * changes[0.0]


def test_refusals() -> None:
    _, landmarks = head(200)
    swapper = EmbeddedSwapper(bank().model)
    assert swapper.refusal(face_of(landmarks)) == ""
    small = face_of(landmarks * np.float32(0.08))
    unsure, turned, blind, broken, beside = (face_of(landmarks) for _ in range(5))
    unsure.presence, turned.pose, blind.landmarks = 0.2, (70.0, 0.0, 0.0), None
    broken.landmarks = landmarks * np.float32(np.nan)
    beside.box = (0, 0, 40, 40)
    wild = face_of(landmarks)
    wild.presence, wild.pose = float("nan"), (float("nan"), 0.0, 0.0)
    reasons = [swapper.refusal(face) for face in (small, unsure, turned, blind, broken, beside, wild)]
    assert all(reasons) and len(set(reasons)) == len(reasons)


def test_a_face_that_is_drawn_may_turn_a_little_further_before_it_is_covered() -> None:
    crop, landmarks = head(120)
    swapper = EmbeddedSwapper(bank().model)
    turned, further = face_of(landmarks), face_of(landmarks)
    turned.pose, further.pose = (-53.0, 0.0, 0.0), (57.0, 0.0, 0.0)
    assert "yaw" in swapper.refusal(turned)
    order = Order(crop, landmarks, None, bank().identity("a"), turned.track)
    swapper.draw([order], 1.0)
    assert swapper.refusal(turned) == "" and "yaw" in swapper.refusal(further)
    swapper.draw([dataclasses.replace(order, track=turned.track + 1)], 1.5)
    assert "yaw" in swapper.refusal(turned)


def test_the_detectors_points_have_a_say() -> None:
    """A landmark net sees a frontal face in a profile. Each bound is wider for a face that was drawn a moment ago."""
    crop, landmarks = head(120)
    swapper = EmbeddedSwapper(bank().model)
    five = topology.five_points(landmarks[None])[0]
    height = float(np.ptp(landmarks[:, 1]))
    shift = np.array([height, 0], np.float32)
    middle = five.mean(0)
    squeezed = (five - middle) * np.array([0.45, 1], np.float32) + middle
    flat = (five - middle) * np.array([0.2, 1], np.float32) + middle
    agreed, apart, astray, side, profile = (face_of(landmarks) for _ in range(5))
    agreed.points, apart.points, astray.points = five, five + 0.2 * shift, five + 0.3 * shift
    side.points, profile.points = squeezed, flat
    assert swapper.refusal(agreed) == ""
    assert "points" in swapper.refusal(apart) and "points" in swapper.refusal(astray)
    assert "side" in swapper.refusal(side) and "side" in swapper.refusal(profile)
    swapper.draw([Order(crop, landmarks, None, bank().identity("a"), agreed.track)], 1.0)
    assert swapper.refusal(apart) == swapper.refusal(side) == ""
    assert "points" in swapper.refusal(astray) and "side" in swapper.refusal(profile)


def test_no_faces_no_drawings() -> None:
    assert EmbeddedSwapper(bank().model).draw([], 0.0) == []
