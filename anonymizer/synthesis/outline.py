"""The outline of a head: what surrounds a replaced face is drawn in towards it.

Hairline, ears and jaw are the person's own, and recognisers know people by how these frame a face, whoever's it is. So
when all is painted the picture around the face is pinched: hair comes lower and the head is narrower. What lies well
inside the outline stays, and so does what is far from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from anonymizer.faces.pose import MEAN_FACE, RIGID
from anonymizer.frame import F32, U8, Planes
from anonymizer.synthesis.sampling import stretch

PINCH = 0.2
"""Places on the outline show what lies further from the face's middle by this share of their distance from it."""

INNER, FULL, OUTER = 0.75, 1.0, 1.6
"""Distances from the face's middle, as shares of the outline's, at which that begins, is greatest and has ended. It
falls slowly enough that no place is shown twice."""

_SIDE = 64

# float64 (4, m): points of the mean face → rows of the affine camera: what x, y and z add in the picture, and its zero.
_CAMERA = np.linalg.pinv(np.column_stack([MEAN_FACE, np.ones(len(MEAN_FACE))]))
# Of the outline on the mean face, in its unit. The middle lies before it: where features are, which are to stay.
_MIDDLE = np.array([0, 0.41, 0.2, 1])
_HALF = np.array([[1.08], [1.3]])


def _smooth(x: F32) -> F32:
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)


def _field() -> F32:
    """float32 (_SIDE, _SIDE): how much further from the middle a place looks, in a frame from -OUTER to OUTER."""
    steps = (np.arange(_SIDE, dtype=np.float32) + np.float32(0.5)) * np.float32(2 * OUTER / _SIDE) - np.float32(OUTER)
    away = np.hypot(steps, steps[:, None])
    return np.asarray(PINCH * _smooth((away - INNER) / (FULL - INNER)) * _smooth((OUTER - away) / (OUTER - FULL)))


_FIELD = _field()


class Ellipse(NamedTuple):
    """Along a face's outline: float32 (2,) middle and (2, 2) half axes, across and down in rows, in pixels.

    Of a turned head they need not be at right angles.
    """

    middle: F32
    axes: F32

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """The rectangle (x0, y0, x1, y1) within which ``pinch`` moves anything."""
        wide, tall = (OUTER * np.hypot(self.axes[0], self.axes[1])).tolist()
        x, y = self.middle.tolist()
        return x - wide, y - tall, x + wide, y + tall


def ellipse(points: F32) -> Ellipse:
    """Of landmarks float32 (200, 2), pixels of the picture: a mean head's, through the affine camera that fits best.

    The outline's own points would say it more directly, but they tremble, and all that surrounds the face with them.
    """
    camera = _CAMERA @ points[RIGID]
    return Ellipse(np.asarray(_MIDDLE @ camera, np.float32), np.asarray(_HALF * camera[:2], np.float32))


def pinch(planes: Planes, outline: Ellipse) -> None:
    """Draw in what surrounds a face, in place.

    Only for pictures on which all is painted: what is moved here was hidden before, or may be seen.
    """
    middle, axes = outline
    x0, y0, x1, y1 = planes.clip(*outline.reach)
    (a, b), (c, d) = axes.tolist()
    area = a * d - b * c
    if x1 - x0 < 4 or y1 - y0 < 4 or abs(area) < 1:
        return
    region = planes.region(x0, y0, x1, y1)
    height, width = region.u.shape
    # From pixels of chroma to those of the field.
    turn = np.array([[d, -c], [-b, a]]) * (_SIDE / (2 * OUTER) / area)
    start = turn @ (np.array([x0, y0]) + 1 - middle) + _SIDE / 2 - 0.5
    field = cv2.warpAffine(
        _FIELD,
        np.column_stack([2 * turn, start]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    dx, dy = ((corner + 1 - centre) / 2 for corner, centre in zip((x0, y0), middle.tolist(), strict=True))
    x, y = _pixels(width, height)
    right, down = field * (x + np.float32(dx)), field * (y + np.float32(dy))
    double = 2 * width, 2 * height
    fine = (np.float32(2) * stretch(moves, double)[: region.height, : region.width] for moves in (right, down))
    _move([region.y], *fine)
    _move([region.u, region.v], right, down)


def _move(planes: Sequence[U8], right: F32, down: F32) -> None:
    """Show at each pixel of planes what lies by so much further, float32 (height, width) each, in place."""
    x, y = _pixels(right.shape[1], right.shape[0])
    right, down = right + x, down + y
    for plane in planes:
        plane[:] = cv2.remap(plane, right, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _pixels(width: int, height: int) -> tuple[F32, F32]:
    """A picture's columns (width,) and rows (height, 1)."""
    return np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
