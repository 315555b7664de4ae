"""Heads to be swapped in tests: people of the bank, drawn, so that no footage is needed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from anonymizer.faces import topology
from anonymizer.frame import F32, Face, Planes
from anonymizer.synthesis import preview
from anonymizer.synthesis.bank import Bank, FaceModel, Identity
from anonymizer.synthesis.preview import View

FILE = Path(__file__).parents[2] / "models" / "face_model.npz"


@cache
def bank() -> Bank:
    return Bank(FaceModel.load(FILE), bytes(range(32)))


def person(number: int) -> Identity:
    return bank().identity("test", number)


def head(size: int, view: View | None = None, number: int = 0, noise: float = 0.0) -> tuple[Planes, F32]:
    """A head in a picture of size × size pixels, and its landmarks. The face is about 0.55 of it high."""
    view = view or View()
    identity = person(number)
    bgr = preview.picture(bank().model, identity, view, size)
    if noise:
        grain = np.random.default_rng(1).normal(0, noise, bgr.shape[:2])[..., None]
        bgr = np.clip(bgr + grain, 0, 255).astype(np.uint8)
    return preview.planes(bgr), preview.placed(identity, view, size)


def face_of(landmarks: F32, track: int = 1, action: str = "replace") -> Face:
    (x0, y0), (x1, y1) = landmarks.min(0), landmarks.max(0)
    box = float(x0), float(y0 - 0.05 * (y1 - y0)), float(x1 - x0), float(1.05 * (y1 - y0))
    return Face(track, box, 0.9, landmarks=landmarks, presence=0.99, pose=(0.0, 0.0, 0.0), action=action)


def noise(width: int, height: int, seed: int = 0) -> Planes:
    """Planes of white noise."""
    random = np.random.default_rng(seed)
    half = (height + 1) // 2, (width + 1) // 2
    planes = [random.integers(0, 256, shape, np.uint8) for shape in ((height, width), half, half)]
    return Planes(planes[0], planes[1], planes[2])


def likeness(before: Planes, after: Planes, box: tuple[float, float, float, float]) -> float:
    """Correlation of what is left above the low frequencies in a box of two pictures: 1 where nothing was painted."""
    x, y, w, h = (round(v) for v in box)
    pair = []
    for planes in (before, after):
        luma = planes.y.astype(np.float32)
        high = luma - cv2.GaussianBlur(luma, (0, 0), max(1.0, h / 12))
        pair.append(high[max(0, y) : y + h, max(0, x) : x + w].ravel())
    if min(band.std() for band in pair) < 1e-6:
        return 0.0
    return float(np.corrcoef(pair[0], pair[1])[0, 1])


def eye_window(landmarks: F32) -> tuple[slice, slice]:
    """Rows and columns of a picture around the right eye's opening."""
    (x0, y0), (x1, y1) = landmarks[topology.EYE_RIGHT].min(0), landmarks[topology.EYE_RIGHT].max(0)
    return slice(int(y0), int(np.ceil(y1))), slice(int(x0), int(np.ceil(x1)))
