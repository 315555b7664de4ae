"""Piecewise-affine warps: triangles drawn as spans of pixels, all faces of a frame in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anonymizer.frame import F32

I64 = NDArray[np.int64]


def maps(corners: F32, values: F32, canvas: I64, sizes: Sequence[tuple[int, int]], behind: F32) -> list[F32]:
    """For each canvas, what the triangles drawn on it say at each pixel's centre.

    corners: float32 (t, 3, 2), the triangles' corners in pixels of their canvas, whose first pixel's centre is at
    (0.5, 0.5). values: float32 (t, 3, 2), two values a corner, interpolated linearly. canvas: int64 (t,), the canvas
    of each triangle, not falling. sizes: (width, height) of each of the n canvases. behind: float32 (n, 2, 3), value =
    a·x + b·y + c where no triangle lies. Returns float32 (2, height, width) a canvas. Of overlapping triangles the
    later one is seen. Neighbours share no pixel and leave none out, because an edge's crossing with a row is computed
    from the same two corners in the same order for both.
    """
    widths = np.array([w for w, _ in sizes], np.int64)
    heights = np.array([h for _, h in sizes], np.int64)
    starts = np.concatenate([[0], np.cumsum(widths * heights)])
    out = np.empty((2, int(starts[-1])), np.float32)
    for i, (w, h) in enumerate(sizes):
        x, y = np.arange(w, dtype=np.float32) + 0.5, np.arange(h, dtype=np.float32)[:, None] + 0.5
        for channel, (a, b, c) in enumerate(behind[i]):
            np.add(a * x, b * y + c, out=out[channel, starts[i] : starts[i + 1]].reshape(h, w))

    gradient, flat = _gradients(corners, values)
    # Corners from top to bottom.
    order = np.argsort(corners[:, :, 1], axis=1)
    y = np.take_along_axis(corners[:, :, 1], order, 1)
    x = np.take_along_axis(corners[:, :, 0], order, 1)
    first = np.maximum(np.ceil(y[:, 0] - 0.5), 0).astype(np.int64)
    last = np.minimum(np.ceil(y[:, 2] - 0.5).astype(np.int64), heights[canvas])
    rows = np.where(flat, 0, np.maximum(last - first, 0))
    # x = slope · y + offset for the long edge, the upper and the lower short one.
    begin, end = [0, 0, 1], [2, 1, 2]
    rise = y[:, end] - y[:, begin]
    slope = (x[:, end] - x[:, begin]) / np.where(rise > 0, rise, 1)
    offset = x[:, begin] - slope * y[:, begin]

    # One entry for each row of each triangle.
    t = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(t)) + np.repeat(first - (np.cumsum(rows) - rows), rows)
    centre = (row + 0.5).astype(np.float32)
    edge = t * 3 + 1 + (centre >= y[:, 1].take(t))
    slope, offset = slope.ravel(), offset.ravel()
    long = slope.take(t * 3) * centre + offset.take(t * 3)
    short = slope.take(edge) * centre + offset.take(edge)
    width = widths[canvas].take(t)
    left = np.ceil(np.clip(np.minimum(long, short) - 0.5, 0, width)).astype(np.int64)
    right = np.ceil(np.clip(np.maximum(long, short) - 0.5, 0, width)).astype(np.int64)
    length = right - left

    # One entry for each pixel of each span.
    skipped = left - (np.cumsum(length) - length)
    k = np.arange(int(length.sum()))
    column = (k + np.repeat(skipped, length)).astype(np.float32)
    pixel = k + np.repeat(skipped + starts[canvas].take(t) + row * width, length)
    for channel in (0, 1):
        across, down, base = gradient[:, channel].T
        value = np.repeat(across.take(t), length)
        value *= column
        value += np.repeat(down.take(t) * centre + (base + across * 0.5).take(t), length)
        out[channel][pixel] = value
    return [out[:, a:b].reshape(2, h, w) for a, b, (w, h) in zip(starts[:-1], starts[1:], sizes, strict=True)]


def _gradients(corners: F32, values: F32) -> tuple[F32, NDArray[np.bool_]]:
    """float32 (t, 2, 3): value = a·x + b·y + c for both values; and which triangles are too thin to draw."""
    p, v = corners.astype(np.float64), values.astype(np.float64)
    a, b = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    flat = np.abs(area) < 1e-6
    area = np.where(flat, 1.0, area)[:, None]
    da, db = v[:, 1] - v[:, 0], v[:, 2] - v[:, 0]
    gx = (da * b[:, 1:] - db * a[:, 1:]) / area
    gy = (db * a[:, :1] - da * b[:, :1]) / area
    return np.stack([gx, gy, v[:, 0] - gx * p[:, 0, :1] - gy * p[:, 0, 1:]], 2).astype(np.float32), flat


def signed_areas(corners: F32) -> F32:
    """float32 (..., t): twice the areas of triangles (..., t, 3, 2), negative where corners run the other way round."""
    a, b = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], np.float32)
