"""Piecewise-affine warps: triangles drawn as spans of pixels, all faces of a frame in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anonymizer.frame import F32

I64 = NDArray[np.int64]
C64 = NDArray[np.complex64]

_HALF = np.float32(0.5)


def maps(corners: F32, values: F32, canvas: I64, sizes: Sequence[tuple[int, int]], behind: F32) -> list[F32]:
    """For each canvas, what the triangles drawn on it say at each pixel's centre.

    corners: float32 (t, 3, 2), the triangles' corners in pixels of their canvas, whose first pixel's centre is at
    (0.5, 0.5). values: float32 (t, 3, 2), two values a corner, interpolated linearly.
    canvas: int64 (t,), the canvas of each triangle, not falling. sizes: (width, height) of each of the n canvases.
    behind: float32 (n, 2, 3), value = a·x + b·y + c where no triangle lies. Returns float32 (height, width, 2) a
    canvas. Of overlapping triangles the later one is seen. Neighbours share no pixel and leave none out, because an
    edge's crossing with a row is computed from the same two corners in the same order for both.
    """
    # Both values travel as one complex number, which halves the work.
    widths = np.array([w for w, _ in sizes], np.int64)
    heights = np.array([h for _, h in sizes], np.int64)
    starts = np.concatenate([[0], np.cumsum(widths * heights)])
    out = np.empty(int(starts[-1]), np.complex64)
    planes = np.ascontiguousarray(behind.transpose(0, 2, 1)).view(np.complex64)[..., 0]
    for start, (w, h), (a, b, c) in zip(starts, sizes, planes, strict=False):
        x, y = np.arange(w, dtype=np.float32) + _HALF, np.arange(h, dtype=np.float32)[:, None] + _HALF
        np.add(a * x, b * y + c, out=out[start : start + w * h].reshape(h, w))

    (x0, x1, x2), (y0, y1, y2) = np.ascontiguousarray(corners.transpose(2, 1, 0))
    flat, across, down, base = _gradients((x0, x1, x2), (y0, y1, y2), values)
    # Corners from top to bottom.
    x0, y0, x1, y1 = _by_height(x0, y0, x1, y1)
    x1, y1, x2, y2 = _by_height(x1, y1, x2, y2)
    x0, y0, x1, y1 = _by_height(x0, y0, x1, y1)
    first = np.maximum(np.ceil(y0 - _HALF), 0).astype(np.int64)
    rows = np.maximum(np.minimum(np.ceil(y2 - _HALF).astype(np.int64), heights.take(canvas)) - first, 0)
    rows[flat] = 0
    # x = slope · y + offset for the long edge, the upper and the lower short one.
    rise = np.concatenate([y2 - y0, y1 - y0, y2 - y1])
    slope = np.concatenate([x2 - x0, x1 - x0, x2 - x1])
    slope /= np.where(rise > 0, rise, 1)
    offset = np.concatenate([x0, x0, x1]) - slope * np.concatenate([y0, y0, y1])

    # One entry for each row of each triangle.
    count = len(rows)
    t = np.repeat(np.arange(count), rows)
    row = np.arange(len(t)) + np.repeat(first - (np.cumsum(rows) - rows), rows)
    centre = row.astype(np.float32) + _HALF
    edge = t + count + count * (centre >= y1.take(t))
    long = slope.take(t) * centre + offset.take(t)
    short = slope.take(edge) * centre + offset.take(edge)
    width = widths.take(canvas)
    most = width.astype(np.float32).take(t)
    left, right = (
        np.minimum(np.maximum(np.ceil(end - _HALF), 0), most).astype(np.int64)
        for end in (np.minimum(long, short), np.maximum(long, short))
    )
    length = right - left

    # One entry for each pixel of each span.
    skipped = left - (np.cumsum(length) - length)
    k = np.arange(int(length.sum()))
    pixel = k + np.repeat(skipped + starts.take(canvas).take(t) + row * width.take(t), length)
    begin = down.take(t) * centre + (base + across * _HALF).take(t)
    value = np.repeat(across.take(t), length)
    value *= (k + np.repeat(skipped, length)).astype(np.float32)
    value += np.repeat(begin, length)
    out[pixel] = value
    return [
        out[start : start + w * h].view(np.float32).reshape(h, w, 2)
        for start, (w, h) in zip(starts, sizes, strict=False)
    ]


def _by_height(xa: F32, ya: F32, xb: F32, yb: F32) -> tuple[F32, F32, F32, F32]:
    """Two corners of each triangle, the upper one first."""
    below = ya > yb
    return np.where(below, xb, xa), np.minimum(ya, yb), np.where(below, xa, xb), np.maximum(ya, yb)


def _gradients(
    x: tuple[F32, F32, F32], y: tuple[F32, F32, F32], values: F32
) -> tuple[NDArray[np.bool_], C64, C64, C64]:
    """Which triangles are too thin to draw; and complex64 (t,) each: value = a·x + b·y + c, for both values as real and
    imaginary part."""
    v0, v1, v2 = np.ascontiguousarray(values.view(np.complex64)[..., 0].T)
    ax, ay, bx, by = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    area = ax * by - ay * bx
    flat = np.abs(area) < 1e-6
    scale = 1 / np.where(flat, 1, area)
    da, db = (v1 - v0) * scale, (v2 - v0) * scale
    across, down = da * by - db * ay, db * ax - da * bx
    return flat, across, down, v0 - across * x[0] - down * y[0]


def signed_areas(corners: F32) -> F32:
    """float32 (..., t): twice the areas of triangles (..., t, 3, 2), negative where corners run the other way round."""
    a, b = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], np.float32)
