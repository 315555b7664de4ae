"""How much of a face still shows through what was drawn over it. Pixels alone are compared: nobody is recognised."""

from __future__ import annotations

import math

import cv2
import numpy as np

from anonymizer.frame import F32, U8, Box

HEIGHT = 40
"""Pixels: faces are compared at this height; finer detail is the camera's noise."""


CHANGED = 12
"""Grey levels: a pixel that differs by more is another one."""


def likeness(original: U8, drawn: U8, weight: U8, face: Box) -> tuple[float, float]:
    """How alike a face is before and after, and how much of it changed.

    The first is the correlation, -1 to 1, of the high-pass luma at the best shift of up to a tenth; the second the
    share, 0 to 1, of pixels that differ by more than ``CHANGED``. (0, 1) where the face is too small to say.

    original, drawn, weight: uint8 (height, width) of one crop; face: its box in the crop's pixels. Compared is its
    inner part: without a tenth at the sides, 15 % at the top and 5 % at the bottom. The high pass takes out what is
    coarser than a twelfth of the face's height, so that light and the head's outline do not count. Of strangers in
    the same light and pose it is 0.3 to 0.55; of the same picture encoded anew above 0.9.
    """
    x, y, w, h = face
    left, top = max(0, round(x + 0.1 * w)), max(0, round(y + 0.15 * h))
    right, bottom = min(original.shape[1], round(x + 0.9 * w)), min(original.shape[0], round(y + 0.95 * h))
    if right - left < 6 or bottom - top < 6:
        return 0.0, 1.0
    scale = min(1.0, HEIGHT / (bottom - top))
    size = max(6, round((right - left) * scale)), max(6, round((bottom - top) * scale))
    before, after, share = (
        cv2.resize(plane[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
        for plane in (original, drawn, weight)
    )
    opacity = share.astype(np.float32) * np.float32(1 / 255)
    shown = cv2.blendLinear(after, before, opacity, 1 - opacity)
    pattern, field = _highpass(np.asarray(before, np.uint8)), _highpass(np.asarray(shown, np.uint8))
    reach = max(1, size[1] // 10)
    inner = np.ascontiguousarray(pattern[reach:-reach, reach:-reach])
    if min(inner.shape) < 3 or min(_spread(inner), _spread(field)) < 0.5:
        return 0.0, 1.0
    changed = cv2.countNonZero(
        (cv2.absdiff(np.asarray(before, np.uint8), np.asarray(shown, np.uint8)) > CHANGED).view(np.uint8)
    )
    return cv2.minMaxLoc(cv2.matchTemplate(field, inner, cv2.TM_CCOEFF_NORMED))[1], changed / before.size


def _highpass(luma: U8) -> F32:
    """Without what two boxes take away, which together are close to a Gaussian of a twelfth of the height."""
    values = luma.astype(np.float32)
    side = max(3, round(math.sqrt(6 * (luma.shape[0] / 12) ** 2 + 1))) | 1
    return np.asarray(values - cv2.blur(cv2.blur(values, (side, side)), (side, side)), np.float32)


def _spread(values: F32) -> float:
    """Standard deviation."""
    return float(cv2.meanStdDev(values)[1][0, 0])
