"""Laying photographs on a canvas of SIDE x SIDE pixels (uint8 BGR), with their labels (float32 rows of 16)."""

from __future__ import annotations

import cv2
import numpy as np
from heads import Picture, Random, move
from teacher import Array, mirror

SIDE = 416


def blend(spot: Picture, cloth: Picture, mask: Picture, rng: Random, soft: float, shade: float) -> None:
    """Paint ``cloth`` into ``spot`` where ``mask`` is set, with uneven light and a soft rim."""
    uneven = cv2.resize(
        rng.normal(0, shade, (9, 9)).astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    alpha = cv2.GaussianBlur(mask, (0, 0), soft).astype(np.float32)[..., None] / 255
    spot[:] = np.clip((cloth + uneven[..., None]) * alpha + spot * (1 - alpha), 0, 255).astype(np.uint8)


def pyramid(picture: Picture) -> list[Picture]:
    """The picture and its halves down to a sixteenth."""
    levels = [picture]
    while len(levels) < 5 and min(levels[-1].shape[:2]) > 24:
        high, wide = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (wide // 2, high // 2), interpolation=cv2.INTER_AREA).astype(np.uint8))
    return levels


def lay(
    canvas: Picture,
    levels: list[Picture],
    faces: Array,
    scale: float,
    centre: Array,
    at: Array,
    angle: float,
    rng: Random,
) -> tuple[Array, Array]:
    """Lay a photograph on the canvas so that ``centre`` comes to ``at``; returns labels and the covered box."""
    mirrored = rng.random() < 0.5
    if mirrored:
        wide = levels[0].shape[1]
        faces = mirror(faces, wide)
        centre = np.array([wide - centre[0], centre[1]])
    level = 0
    while level + 1 < len(levels) and scale * 2**level < 0.6:
        level += 1
    picture = levels[level]
    ratio = picture.shape[1] / levels[0].shape[1]
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    squeeze = rng.uniform(0.9, 1.1)
    a = np.array([[c * squeeze, -s], [s * squeeze, c]])
    matrix = np.concatenate([a, (at - a @ centre)[:, None]], 1)
    inner = matrix.copy()
    inner[:, :2] /= ratio
    if mirrored:
        picture = picture[:, ::-1]
    high, wide = picture.shape[:2]
    corners = np.array([[0, 0], [wide, 0], [wide, high], [0, high]]) @ inner[:, :2].T + inner[:, 2]
    low, top = corners.min(0), corners.max(0)
    start = np.maximum(np.floor(low), 0).astype(int)
    end = np.minimum(np.ceil(top), canvas.shape[1::-1]).astype(int)
    if (end > start).all():
        inner[:, 2] -= start
        spot = canvas[start[1] : end[1], start[0] : end[0]]
        moved = cv2.warpAffine(
            picture, inner, spot.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros(spot.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, (corners - start).astype(np.int32), 255)
        cv2.copyTo(moved, mask, spot)
    return move(faces, matrix.astype(np.float32)), np.array([*low, *(top - low)], np.float32)


def hide(rows: Array, box: Array) -> Array:
    """Labels (N, 16), do-not-care where ``box`` hides a third of them, dropped where it hides all."""
    x = np.minimum(rows[:, 0] + rows[:, 2], box[0] + box[2]) - np.maximum(rows[:, 0], box[0])
    y = np.minimum(rows[:, 1] + rows[:, 3], box[1] + box[3]) - np.maximum(rows[:, 1], box[1])
    share = np.maximum(x, 0) * np.maximum(y, 0) / np.maximum(rows[:, 2] * rows[:, 3], 1e-6)
    rows[share > 0.3, 15] = 0
    return rows[share < 0.97]


def fill(levels: list[Picture], faces: Array, rng: Random, scale: float, side: int = SIDE) -> tuple[Picture, Array]:
    """A random part of a photograph that fills the canvas."""
    high, wide = levels[0].shape[:2]
    scale = max(scale, side / min(high, wide))
    span = side / scale
    centre = np.array([rng.uniform(span / 2, wide - span / 2 + 1e-6), rng.uniform(span / 2, high - span / 2 + 1e-6)])
    canvas = np.zeros((side, side, 3), np.uint8)
    rows, _ = lay(canvas, levels, faces, scale, centre, np.array([side / 2, side / 2]), 0.0, rng)
    return canvas, rows
