"""What became of pixels: left as they were, as sharp as they were, as calm as they were. Pure, on luma arrays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.frame import F32, U8, Box

UNTOUCHED = 0.8
"""Correlation of the fine structure with the original's from which a face counts as left as it was."""

NOTICED = 12
"""Grey levels from which a pixel counts as changed."""

BLOCK = 16
"""Pixels of the side of the blocks in which the rest of the picture is compared."""

SHIFTED = 6
"""Grey levels by which the mean of a block differs when something was painted there: codecs keep means."""


def inner(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a face's box that is face for sure: (x0, y0, x1, y1), cut by the picture."""
    x, y, w, h = box
    left, top, right, bottom = x + 0.1 * w, y + 0.15 * h, x + 0.9 * w, y + 0.95 * h
    return max(0, int(left)), max(0, int(top)), min(width, int(right)), min(height, int(bottom))


def highpass(luma: U8 | F32, sigma: float) -> F32:
    """float32: the picture less its Gaussian mean."""
    grey = luma.astype(np.float32)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def kept(before: U8, after: U8, box: Box) -> tuple[float, float] | None:
    """(correlation, changed): how far a face was left as it was.

    correlation: of the fine structure (high-pass, a twelfth of the face) with the original's, after the best shift
    within a tenth of the face. changed: share of pixels that differ by more than NOTICED. before, after: luma (h, w) of
    the whole pictures. None where nothing of the face lies in the picture.
    """
    height, width = before.shape
    x0, y0, x1, y1 = inner(box, width, height)
    if x1 - x0 < 6 or y1 - y0 < 6:
        return None
    reach = max(2, int(0.1 * box[3]))
    top, left = max(0, y0 - reach), max(0, x0 - reach)
    around = slice(top, min(height, y1 + reach)), slice(left, min(width, x1 + reach))
    sigma = max(1.0, (around[0].stop - top) / 12)
    old, new = highpass(before[around], sigma), highpass(after[around], sigma)
    pattern = np.ascontiguousarray(old[y0 - top : y1 - top, x0 - left : x1 - left])
    correlation = 0.0
    if new.std() > 0.5 and pattern.std() > 0.5:
        correlation = float(cv2.matchTemplate(new, pattern, cv2.TM_CCOEFF_NORMED).max())
    face = slice(y0, y1), slice(x0, x1)
    return correlation, float((cv2.absdiff(before[face], after[face]) > NOTICED).mean())


def elsewhere(before: U8, after: U8, faces: NDArray[np.bool_]) -> tuple[float, float] | None:
    """(mean squared error, share of changed blocks) of luma outside the faces, bool (h, w) as before and after.

    A block is changed when its mean is another by more than SHIFTED grey levels; blocks that touch faces are left out.
    None where faces fill the picture.
    """
    outside = ~faces
    if not outside.any():
        return None
    error = cv2.absdiff(before, after).astype(np.float32)
    squared = float((error[outside] ** 2).mean())
    rows, columns = before.shape[0] // BLOCK, before.shape[1] // BLOCK
    if not rows or not columns:
        return squared, 0.0

    def blocks(plane: NDArray[np.generic]) -> F32:
        cut = plane[: rows * BLOCK, : columns * BLOCK].astype(np.float32)
        return np.asarray(cut.reshape(rows, BLOCK, columns, BLOCK).mean((1, 3)), np.float32)

    free = blocks(faces) == 0
    shifted = np.abs(blocks(before) - blocks(after)) > SHIFTED
    return squared, float(shifted[free].mean()) if free.any() else 0.0


def sharpness(face: U8) -> float:
    """RMS of the fine structure of an aligned face, uint8 (s, s): detail of a thirtieth of the face and finer."""
    return float(highpass(face, len(face) / 30).std())


def oval(side: int) -> NDArray[np.bool_]:
    """bool (side, side): the inner face in a picture aligned to ArcFace's template: brows to chin."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    return np.asarray(((x - 0.5) / 0.36) ** 2 + ((y - 0.62) / 0.40) ** 2 <= 1, np.bool_)


def motion(before: U8, after: U8) -> F32:
    """float32 (h, w, 2): where each pixel of after was in before (DIS optical flow, Kroeger et al. 2016), pixels."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(flow.calc(after, before, np.zeros((*before.shape, 2), np.float32)), np.float32)


def energy(before: U8, after: U8, flow: F32, where: NDArray[np.bool_]) -> float:
    """Mean square of what motion does not explain between two pictures uint8 (h, w), where the mask says."""
    rows, columns = np.mgrid[: before.shape[0], : before.shape[1]].astype(np.float32)
    moved = cv2.remap(
        before.astype(np.float32), columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return float(((after.astype(np.float32) - moved)[where] ** 2).mean())
