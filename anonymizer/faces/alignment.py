"""Crops in which eyes, nose and mouth stand where a recogniser was taught to expect them."""

from __future__ import annotations

import cv2
import numpy as np

from anonymizer.frame import F32, U8, Planes

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""float32 (5, 2): InsightFace's template ``arcface_112_v2``, pixels of a crop of 112 × 112."""

RETAIL = 128 * np.array(
    [[0.31557, 0.46157], [0.68262, 0.46157], [0.50026, 0.64051], [0.34947, 0.82470], [0.65343, 0.82470]], np.float32
)
"""float32 (5, 2): the template of Open Model Zoo's face-reidentification-retail-0095, pixels of 128 × 128."""


def similarity(source: F32, target: F32) -> F32:
    """float32 (2, 3): the turn, scale and shift that lay points source (n, 2) on target with least squares.

    Umeyama 1991, in two dimensions and without reflection: what recognisers are trained with.
    """
    a, b = source.mean(0), target.mean(0)
    x, y = (source - a).astype(np.float64), (target - b).astype(np.float64)
    power = max(float((x**2).sum()), 1e-9)
    c = float((x * y).sum()) / power
    s = float((x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()) / power
    turn = np.array([[c, -s], [s, c]])
    return np.concatenate([turn, (b - turn @ a)[:, None]], 1).astype(np.float32)


def aligned(picture: U8, points: F32, template: F32, size: tuple[int, int]) -> U8:
    """A face laid onto a template: uint8 of the size (width, height), with the channels of the picture.

    points: float32 (5, 2), pixels of the picture, in the detector's order. What lies outside repeats the border.
    """
    turn = similarity(points, template)
    return np.asarray(cv2.warpAffine(picture, turn, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def cut(planes: Planes, points: F32, template: F32, size: tuple[int, int]) -> U8 | None:
    """The same from planes, BGR uint8 (height, width, 3); None where the points fit nothing or lie outside.

    Only the rectangle around the face is converted.
    """
    matrix = similarity(points, template)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < 1e-9:
        return None
    back = cv2.invertAffineTransform(matrix)
    width, height = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32) @ back[:, :2].T + back[:, 2]
    low, high = corners.min(0), corners.max(0)
    x0, y0, x1, y1 = planes.clip(low[0] - 2, low[1] - 2, high[0] + 2, high[1] + 2)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    return aligned(planes.region(x0, y0, x1, y1).bgr(), points - np.array([x0, y0], np.float32), template, size)
