"""Boxes against boxes: overlap, exact cover by a union, areas. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anonymizer.frame import Box


def iou(a: Box, b: Box) -> float:
    """Intersection over union."""
    common = intersection(a, b)
    return common / (a[2] * a[3] + b[2] * b[3] - common + 1e-9) if common else 0.0


def intersection(a: Box, b: Box) -> float:
    """Area that both hold."""
    # Most lie apart.
    if (wide := min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])) <= 0:
        return 0.0
    if (high := min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])) <= 0:
        return 0.0
    return wide * high


def union(a: Box, b: Box) -> Box:
    """The smallest box that holds both."""
    left, top = min(a[0], b[0]), min(a[1], b[1])
    return left, top, max(a[0] + a[2], b[0] + b[2]) - left, max(a[1] + a[3], b[1] + b[3]) - top


def best(box: Box, others: Sequence[Box], least: float) -> int | None:
    """Which of the others overlaps most with the box, or None where no IoU reaches ``least``."""
    scores = [iou(box, other) for other in others]
    if not scores or max(scores) < least:
        return None
    return int(np.argmax(scores))


def grown(box: Box, share: float) -> Box:
    """The box, larger by a share of its width and height on every side."""
    x, y, w, h = box
    return x - share * w, y - share * h, w * (1 + 2 * share), h * (1 + 2 * share)


def covered(box: Box, by: Sequence[Box]) -> float:
    """The share of the box's area that the union of others hides: exact, on the grid of their edges."""
    x, y, w, h = box
    cut = [(max(x, b[0]), max(y, b[1]), min(x + w, b[0] + b[2]), min(y + h, b[1] + b[3])) for b in by]
    cut = [c for c in cut if c[2] > c[0] and c[3] > c[1]]
    if not cut or w <= 0 or h <= 0:
        return 0.0
    xs, ys = (np.unique([v for c in cut for v in (c[i], c[i + 2])]) for i in (0, 1))
    cells = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for x0, y0, x1, y1 in cut:
        rows, columns = np.searchsorted(ys, (y0, y1)), np.searchsorted(xs, (x0, x1))
        cells[rows[0] : rows[1], columns[0] : columns[1]] = True
    return float((np.diff(ys)[:, None] * np.diff(xs) * cells).sum() / (w * h))


def mask(boxes: Sequence[Box], width: int, height: int, step: int = 1) -> NDArray[np.bool_]:
    """bool (ceil(height / step), ceil(width / step)): what the boxes' union holds of a picture."""
    out = np.zeros((-(-height // step), -(-width // step)), bool)
    for x, y, w, h in boxes:
        rows = slice(max(0, round(y / step)), max(0, round((y + h) / step)))
        out[rows, max(0, round(x / step)) : max(0, round((x + w) / step))] = True
    return out
