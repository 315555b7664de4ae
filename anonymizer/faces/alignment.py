"""Crops in which eyes, nose and mouth stand where a recogniser was taught to expect them."""

from __future__ import annotations

import cv2
import numpy as np

from anonymizer.frame import F32, U8, Planes

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
) / np.float32(112)
"""float32 (5, 2): the template ``arcface_112_v2`` (InsightFace) as fractions of the crop's side."""

RETAIL = np.array(
    [[0.31557, 0.46157], [0.68262, 0.46157], [0.50026, 0.64051], [0.34947, 0.82470], [0.65343, 0.82470]], np.float32
)
"""float32 (5, 2): the template of Open Model Zoo's face-reidentification-retail-0095."""


def aligned(planes: Planes, points: F32, template: F32, size: int) -> U8 | None:
    """The face turned and scaled onto a template: BGR uint8 (size, size, 3), or None where the points fit nothing.

    points: float32 (5, 2), pixels of the picture, in the detector's order. A similarity transform, least median of
    squares. Only the rectangle around the face is converted.
    """
    onto = template * size
    matrix, _ = cv2.estimateAffinePartial2D(points, onto, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all():
        return None
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float32) @ back[:, :2].T + back[:, 2]
    low, high = corners.min(0), corners.max(0)
    rectangle = planes.clip(low[0] - 2, low[1] - 2, high[0] + 2, high[1] + 2)
    if rectangle[2] - rectangle[0] < 2 or rectangle[3] - rectangle[1] < 2:
        return None
    region = planes.region(*rectangle).bgr()
    shifted = np.array(matrix, np.float64)
    shifted[:, 2] += shifted[:, :2] @ np.array(rectangle[:2], np.float64)
    return np.asarray(cv2.warpAffine(region, shifted, (size, size), borderMode=cv2.BORDER_REPLICATE), np.uint8)
