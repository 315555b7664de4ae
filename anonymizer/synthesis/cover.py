"""Covering a face instead of replacing it. Every function paints on the planes in place and says where.

Boxes are (x, y, width, height) in pixels of the picture. Returned is the bounding rectangle of what is hidden at least
half, cut by the picture, or None where the box lies outside of it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.frame import F32, U8, Box, Planes

MARGIN = 0.12
"""How far a cover reaches beyond the box on each side, as a share of its sides."""

CELLS = 6
"""A pixelated face has at most so many cells along its longer side."""

SAMPLES = 5
"""A blurred face is drawn from at most so many samples along its longer side."""

BLANK = 72
"""Luma of the whole picture in privacy mode."""


def _superellipse(order: float, count: int = 64) -> F32:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    power = 2 / order
    return np.stack([np.sign(c) * np.abs(c) ** power, np.sign(s) * np.abs(s) ** power], 1).astype(np.float32)


_ROUNDED = _superellipse(5.0)
"""float32 (64, 2): a square of side 2 with round corners."""

_ROUND_MARGIN = (2 ** (1 / 5) - 1) / 2 + 0.01
"""Round corners need this margin at least, so that the box's own corners are covered."""


def solid(planes: Planes, box: Box, margin: float = MARGIN) -> Box | None:
    """Fill the face and the margin around it with its mean colour: three numbers are left of it."""
    x, y, w, h = _grown(box, max(margin, _ROUND_MARGIN))
    rectangle = planes.clip(x, y, x + w, y + h)
    if _empty(rectangle):
        return None
    region = planes.region(*rectangle)
    colour = [float(cv2.mean(plane)[0]) for plane in (region.y, region.u, region.v)]
    centre = np.array([x + w / 2 - rectangle[0], y + h / 2 - rectangle[1]], np.float32)
    weight = np.zeros(region.y.shape, np.uint8)
    _fill(weight, centre + _ROUNDED * (np.array([w, h], np.float32) / 2))
    return _lay_colour(region, weight, colour, rectangle)


def pixelate(planes: Planes, box: Box, margin: float = MARGIN) -> Box | None:
    """Draw the face and the margin around it in squares of at least a sixth of the face."""
    x, y, w, h = _grown(box, margin)
    rectangle = planes.clip(x, y, x + w, y + h)
    if _empty(rectangle):
        return None
    region = planes.region(*rectangle)
    cells = _samples(region, max(box[2], box[3]) / CELLS)
    for plane in (region.y, region.u, region.v):
        # With chroma at least one cell stays, so that no size is zero.
        small = cv2.resize(plane, cells, interpolation=cv2.INTER_AREA)
        plane[:] = cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return _rectangle(rectangle)


def blur(planes: Planes, box: Box, margin: float = MARGIN) -> Box | None:
    """Draw the face from a few means, smoothly joined, and fading into the picture beyond the margin.

    A Gaussian blur of a small face can be undone; means over a fifth of the face cannot, because nothing else is left.
    """
    margin = max(margin, _ROUND_MARGIN)
    x, y, w, h = _grown(box, margin + FADE)
    rectangle = planes.clip(x, y, x + w, y + h)
    if _empty(rectangle):
        return None
    region = planes.region(*rectangle)
    cells = _samples(region, max(box[2], box[3]) / SAMPLES)
    weight = np.zeros(region.y.shape, np.uint8)
    centre = np.array([x + w / 2 - rectangle[0], y + h / 2 - rectangle[1]], np.float32)
    half = np.array([box[2], box[3]], np.float32) / 2
    _fill(weight, centre + _ROUNDED * (half * (1 + 2 * margin + FADE)))
    side = max(3, round(FADE * max(box[2], box[3]))) | 1
    # The edge of the fill lies half the fade outside the margin: the box itself keeps its full weight.
    weight = np.asarray(cv2.blur(weight, (side, side), borderType=cv2.BORDER_REPLICATE), np.uint8)
    share = weight.astype(np.float32) / 255
    for plane in (region.y, region.u, region.v):
        soft = cv2.resize(cv2.resize(plane, cells, interpolation=cv2.INTER_AREA), plane.shape[::-1])
        part = share if plane is region.y else cv2.resize(share, plane.shape[::-1], interpolation=cv2.INTER_AREA)
        plane[:] = cv2.blendLinear(soft, plane, part, 1 - part)
    return _bounds(weight, rectangle)


FADE = 0.1
"""Width of the blur's soft edge, as a share of the box."""


def silhouette(planes: Planes, box: Box, margin: float = MARGIN) -> Box | None:
    """Fill head and shoulders with one dark colour: hair, ears and neck go too."""
    x, y, w, h = box
    cx, half = x + w / 2, w / 2 + margin * w
    size = max(w, 0.75 * h)
    head = np.array([cx, y + 0.42 * h]) + _superellipse(2.5) * [1.25 * half + 0.1 * w, 0.78 * h + margin * h]
    shoulders = np.array(
        [
            [cx - 0.42 * size, y + 0.9 * h],
            [cx + 0.42 * size, y + 0.9 * h],
            [cx + 0.9 * size, y + 1.35 * h],
            [cx + 1.35 * size, y + 1.6 * h],
            [cx + 1.5 * size, y + 2.6 * h],
            [cx - 1.5 * size, y + 2.6 * h],
            [cx - 1.35 * size, y + 1.6 * h],
            [cx - 0.9 * size, y + 1.35 * h],
        ]
    )
    low = np.minimum(head.min(0), shoulders.min(0))
    high = np.maximum(head.max(0), shoulders.max(0))
    rectangle = planes.clip(*low, *high)
    if _empty(rectangle):
        return None
    region = planes.region(*rectangle)
    weight = np.zeros(region.y.shape, np.uint8)
    for outline in (head, shoulders):
        _fill(weight, outline - rectangle[:2])
    return _lay_colour(region, weight, (BLANK, 128, 128), rectangle)


def polygon(planes: Planes, outline: NDArray[np.floating]) -> Box | None:
    """Blank a polygon, float (n, 2) in pixels: a mask that is always covered."""
    low, high = outline.min(0), outline.max(0)
    rectangle = planes.clip(*low, *high)
    if _empty(rectangle):
        return None
    region = planes.region(*rectangle)
    weight = np.zeros(region.y.shape, np.uint8)
    _fill(weight, outline - rectangle[:2])
    return _lay_colour(region, weight, (BLANK, 128, 128), rectangle)


def privacy(planes: Planes) -> Box:
    """Blank the whole picture."""
    planes.y[:], planes.u[:], planes.v[:] = BLANK, 128, 128
    return 0.0, 0.0, float(planes.width), float(planes.height)


def _grown(box: Box, margin: float) -> Box:
    x, y, w, h = box
    return x - margin * w, y - margin * h, w * (1 + 2 * margin), h * (1 + 2 * margin)


def _empty(rectangle: tuple[int, int, int, int]) -> bool:
    return rectangle[2] <= rectangle[0] or rectangle[3] <= rectangle[1]


def _samples(region: Planes, cell: float) -> tuple[int, int]:
    """How many cells of at least that many pixels a region has, across and down."""
    return max(1, int(region.width / max(cell, 2))), max(1, int(region.height / max(cell, 2)))


def _fill(weight: U8, outline: NDArray[np.floating]) -> None:
    """Fill a polygon, given in pixels whose first one's centre is at (0.5, 0.5)."""
    cv2.fillPoly(weight, [np.rint((outline - 0.5) * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)


def _lay_colour(
    region: Planes, weight: U8, colour: list[float] | tuple[int, int, int], rectangle: tuple[int, int, int, int]
) -> Box | None:
    """Replace what the weight covers, at least to a tenth, whole: a mixed edge would let the picture through."""
    region.y[weight > EDGE] = round(colour[0])
    half = cv2.resize(weight, region.u.shape[::-1], interpolation=cv2.INTER_AREA) > EDGE
    region.u[half] = round(colour[1])
    region.v[half] = round(colour[2])
    return _bounds(weight, rectangle)


EDGE = 25


def _bounds(weight: U8, rectangle: tuple[int, int, int, int]) -> Box | None:
    """Where a weight, uint8 of the rectangle's size, is one half or more, in pixels of the picture."""
    x, y, w, h = cv2.boundingRect((weight >= 128).view(np.uint8))
    if w == 0 or h == 0:
        return None
    return float(x + rectangle[0]), float(y + rectangle[1]), float(w), float(h)


def _rectangle(rectangle: tuple[int, int, int, int]) -> Box:
    x0, y0, x1, y1 = rectangle
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)
