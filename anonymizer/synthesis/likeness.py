"""How much of a face still shows through what was drawn over it. Pixels alone are compared: nobody is recognised."""

from __future__ import annotations

import cv2
import numpy as np

from anonymizer.frame import F32, U8, Box

HEIGHT = 56
"""Pixels: faces are compared at this height; finer detail is the camera's noise."""


def likeness(original: U8, drawn: U8, weight: U8, face: Box) -> float:
    """Correlation, -1 to 1, of the high-pass luma of a face before and after, at the best shift of up to a tenth.

    original, drawn, weight: uint8 (height, width) of one crop; face: its box in the crop's pixels. Compared is its
    inner part: without a tenth at the sides, 15 % at the top and 5 % at the bottom. The high pass takes out what is
    coarser than a twelfth of the face's height, so that light and the head's outline do not count. Of strangers in
    the same light and pose it is 0.3 to 0.55; of the same picture encoded anew above 0.9.
    """
    x, y, w, h = face
    left, top = max(0, round(x + 0.1 * w)), max(0, round(y + 0.15 * h))
    right, bottom = min(original.shape[1], round(x + 0.9 * w)), min(original.shape[0], round(y + 0.95 * h))
    if right - left < 6 or bottom - top < 6:
        return 0.0
    scale = min(1.0, HEIGHT / (bottom - top))
    size = max(6, round((right - left) * scale)), max(6, round((bottom - top) * scale))
    before, after, share = (
        cv2.resize(plane[top:bottom, left:right], size, interpolation=cv2.INTER_AREA).astype(np.float32)
        for plane in (original, drawn, weight)
    )
    shown = before + share / 255 * (after - before)
    pattern, field = _highpass(before), _highpass(shown)
    reach = max(1, size[1] // 10)
    inner = pattern[reach:-reach, reach:-reach]
    if min(inner.shape) < 3 or inner.std() < 0.5 or field.std() < 0.5:
        return 0.0
    return float(cv2.matchTemplate(field, np.ascontiguousarray(inner), cv2.TM_CCOEFF_NORMED).max())


def _highpass(luma: F32) -> F32:
    return np.asarray(luma - cv2.GaussianBlur(luma, (0, 0), max(1.0, luma.shape[0] / 12)), np.float32)
