"""Drawings that are carried along: calm where the picture is, new where it is, and nobody else's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anonymizer.faces.motion import Flow, patches
from anonymizer.frame import F32, U8, Motion, Planes
from anonymizer.synthesis.embedded import EmbeddedSwapper
from anonymizer.synthesis.steady import GAP, SETTLE, Steady
from anonymizer.synthesis.swapper import Order
from tests.synthesis.heads import bank, head, person

KEY = 1, b"person"
STEP = 0.04
KEPT = math.exp(-STEP / SETTLE)


def still(rectangle: tuple[int, int, int, int], since: float = 0.0, right: float = 0) -> Motion:
    """Of a picture that moved to the right, in pixels; trusted all over."""
    back = np.array([[1, 0, -right], [0, 1, 0]], np.float32)
    return Motion(since, back, rectangle, np.ones((48, 40), np.float32))


def plane(value: int, size: tuple[int, int] = (96, 80)) -> U8:
    return np.full(size, value, np.uint8)


def test_a_drawing_keeps_most_of_the_last_one_where_motion_is_trusted() -> None:
    steady, new = Steady(), plane(200)
    steady(KEY, plane(100), (10, 20), None, 0.0)
    steady(KEY, new, (10, 20), still((10, 20, 90, 116)), STEP)
    assert (abs(new[1:-1, 1:-1].astype(float) - (KEPT * 100 + (1 - KEPT) * 200)) <= 1).all()


def test_the_last_drawing_moves_with_the_picture_wherever_both_crops_lie() -> None:
    ramp = np.tile(np.arange(100, dtype=np.uint8) * 2, (120, 1))
    steady, new = Steady(), plane(0, (110, 90))
    steady(KEY, ramp.copy(), (0, 0), None, 0.0)
    # The picture moved by four pixels to the right; the new crop begins six further to the right.
    steady(KEY, new, (6, 4), still((8, 10, 88, 106), right=4), STEP)
    expected = KEPT * 2 * (np.arange(20, 70) + 6 - 4)
    assert np.abs(new[40, 20:70] - expected).max() <= 1.5


@pytest.mark.parametrize(
    ("key", "motion", "time"),
    [
        ((1, b"another"), still((0, 0, 80, 96)), STEP),
        ((2, b"person"), still((0, 0, 80, 96)), STEP),
        (KEY, None, STEP),
        (KEY, still((0, 0, 80, 96), since=0.02), STEP),
        (KEY, still((200, 0, 280, 96)), STEP),
        (KEY, still((0, 0, 80, 96)), GAP + 0.1),
    ],
    ids=["another identity", "another track", "no motion", "since another picture", "elsewhere", "long ago"],
)
def test_nothing_else_is_mixed_in(key: tuple[int, bytes], motion: Motion | None, time: float) -> None:
    steady, new = Steady(), plane(200)
    steady(KEY, plane(100), (0, 0), None, 0.0)
    steady.forget(time)
    steady(key, new, (0, 0), motion, time)
    assert (new == 200).all()


def test_what_the_last_drawing_did_not_reach_stays_new() -> None:
    steady, new = Steady(), plane(200)
    steady(KEY, plane(100, (96, 40)), (0, 0), None, 0.0)
    steady(KEY, new, (0, 0), still((0, 0, 80, 96)), STEP)
    assert (new[:, 41:] == 200).all() and (new[20:70, 10:35] < 150).all()


def test_drawings_are_forgotten() -> None:
    steady = Steady()
    for track in range(5):
        steady((track, b""), plane(0), (0, 0), None, float(track))
    steady.forget(4.2)
    assert len(steady) == 1


def test_half_the_trust_keeps_half_as_much_and_slow_cameras_keep_less() -> None:
    shown = {}
    for trust, time in ((1.0, STEP), (0.5, STEP), (1.0, 0.1)):
        steady, new = Steady(), plane(200)
        motion = still((0, 0, 80, 96))
        motion.trust[:] = trust
        steady(KEY, plane(100), (0, 0), None, 0.0)
        steady(KEY, new, (0, 0), motion, time)
        shown[trust, time] = 200 - float(new[40, 40])
    assert shown[0.5, STEP] == pytest.approx(shown[1.0, STEP] / 2, abs=1)
    assert shown[1.0, 0.1] == pytest.approx(100 * math.exp(-0.1 / SETTLE), abs=1)


def drawn(swapper: EmbeddedSwapper, planes: Planes, points: F32, motion: Motion | None, time: float) -> F32:
    order = Order(planes, points, None, person(5), 1, motion=motion)
    return swapper.draw([order], time)[0].planes.y.astype(np.float32)


def test_trembling_landmarks_shake_a_drawing_less_where_the_picture_stands_still() -> None:
    planes, points = head(160)
    trembling = [points + np.random.default_rng(i).normal(0, 0.8, (1, 2)).astype(np.float32) for i in range(12)]
    (patch,) = patches(points[None], planes.y)
    assert patch is not None
    blind, seeing = EmbeddedSwapper(bank().model), EmbeddedSwapper(bank().model)
    changes: dict[bool, list[float]] = {False: [], True: []}
    for told, swapper in ((False, blind), (True, seeing)):
        before: F32 | None = None
        for i, place in enumerate(trembling):
            motion = Flow()([(patch, (i - 1) / 25)], planes.y)[0] if told and i else None
            now = drawn(swapper, planes, place, motion, i / 25)[40:120, 40:120]
            if before is not None:
                changes[told].append(float(np.square(now - before).mean()))
            before = now
    assert np.mean(changes[True]) < 0.5 * np.mean(changes[False])


def test_no_pixel_of_the_original_is_mixed_in() -> None:
    """Whatever the picture holds, what is shown lies between the last drawing and the new one."""
    planes, points = head(160)
    other = Planes(planes.y.copy(), planes.u, planes.v, planes.full_range)
    other.y[40:120, 40:120] = 255 - other.y[40:120, 40:120]
    swapper = EmbeddedSwapper(bank().model)
    first = drawn(swapper, planes, points, None, 0.0)
    moved = points + np.float32(2)
    mixed = drawn(swapper, other, moved, still((0, 0, 160, 160)), STEP)
    fresh = EmbeddedSwapper(bank().model)
    drawn(fresh, planes, points, None, 0.0)
    alone = drawn(fresh, other, moved, None, STEP)
    assert np.abs(mixed - alone).max() > 5
    assert (mixed >= np.minimum(first, alone) - 1).all() and (mixed <= np.maximum(first, alone) + 1).all()
