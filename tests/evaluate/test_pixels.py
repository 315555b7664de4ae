"""What became of pixels, on drawn pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymizer.evaluate import pixels
from anonymizer.frame import U8

BOX = (60.0, 50.0, 48.0, 60.0)


def textured(seed: int, height: int = 180, width: int = 240) -> U8:
    """Smooth noise, which optical flow can follow."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.clip(128 + 45 * soft / soft.std(), 0, 255).astype(np.uint8)


def with_face(picture: U8, face: U8) -> U8:
    out = picture.copy()
    x, y, w, h = (int(v) for v in BOX)
    out[y : y + h, x : x + w] = face[y : y + h, x : x + w]
    return out


def test_a_face_that_was_left_is_found_also_moved_and_darker() -> None:
    before = textured(1)
    assert pixels.kept(before, before, BOX) == pytest.approx((1.0, 0.0), abs=1e-3)
    moved = np.roll(before, 3, 1)
    same = pixels.kept(before, moved, BOX)
    assert same is not None and same[0] > 0.99
    darker = pixels.kept(before, (before * 0.7).astype(np.uint8), BOX)
    assert darker is not None and darker[0] > 0.97


def test_a_face_that_was_hidden_is_not() -> None:
    before = textured(1)
    for face in (textured(2), np.full_like(before, 90)):
        same = pixels.kept(before, with_face(before, face), BOX)
        assert same is not None and same[0] < 0.4 and same[1] > 0.6
    assert pixels.kept(before, before, (500, 500, 40, 40)) is None


def test_elsewhere_leaves_out_the_face_and_finds_what_was_painted_beside_it() -> None:
    before = textured(1)
    x, y, w, h = (int(v) for v in BOX)
    faces = np.zeros(before.shape, bool)
    faces[y : y + h, x : x + w] = True
    assert pixels.elsewhere(before, with_face(before, textured(2)), faces) == (0.0, 0.0)
    noisy = np.clip(before + np.random.default_rng(3).normal(0, 3, before.shape), 0, 255).astype(np.uint8)
    coded = pixels.elsewhere(before, noisy, faces)
    assert coded is not None and coded[0] == pytest.approx(9, rel=0.1) and coded[1] == 0
    painted = before.copy()
    painted[:, 160:224] = 60
    found = pixels.elsewhere(before, painted, faces)
    assert found is not None and found[1] > 0.2
    assert pixels.elsewhere(before, before, np.ones_like(faces)) is None


def test_blur_takes_sharpness() -> None:
    face = np.random.default_rng(4).integers(0, 255, (112, 112)).astype(np.uint8)
    soft = np.asarray(cv2.GaussianBlur(face, (0, 0), 2), np.uint8)
    assert pixels.sharpness(soft) < 0.5 * pixels.sharpness(face)


def test_motion_explains_a_shift_and_not_a_flicker() -> None:
    before = textured(5, 112, 112)
    after = np.asarray(
        cv2.warpAffine(before, np.float32([[1, 0, 2.5], [0, 1, -1.5]]), (112, 112), borderMode=2), np.uint8
    )
    inner = pixels.oval(112)
    flow = pixels.motion(before, after)
    assert np.abs(flow[inner].mean(0) - (-2.5, 1.5)).max() < 0.4
    still = pixels.energy(before, after, np.zeros_like(flow), inner)
    moved = pixels.energy(before, after, flow, inner)
    flicker = pixels.energy(before, np.clip(after + 12.0, 0, 255).astype(np.uint8), flow, inner)
    assert moved < 0.1 * still
    assert flicker > moved + 100
