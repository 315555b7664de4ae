"""How the picture under a face moved since the frame before: the similarity that explains its optical flow best.

The flow is DIS (Kroeger et al. 2016) on a small picture of the face and what is around it. Filtered landmarks are
carried along (``smoothing``), so that they stand as still on a moving head as on a resting one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.frame import F32, U8, bounds

C64 = NDArray[np.complex64]

SMALLEST = 48
"""Pixels of a patch's sides at least: nobody sees smaller faces tremble, and a crowd of them costs too much."""

CELLS = 40, 48
"""Of a patch, across and down."""

ROOM = 0.25
"""Around the points, as a share of their extent: for the face to stay inside while it moves."""

STRAY = 0.75
"""Cells: where half of the samples stray from the similarity by more, it is not believed."""

_SIZE = np.array(CELLS, np.float32)
_PLACES = np.stack(np.meshgrid(*(np.arange(2, count, 4) for count in CELLS)), 2).reshape(-1, 2)
_COLUMNS, _ROWS = _PLACES[np.square((_PLACES + 0.5) / _SIZE - 0.5).sum(1) <= 0.3**2].T
"""Cells of the face itself, whose motion counts."""

_HALF = np.float32(0.5)


class Patch(NamedTuple):
    """A small picture of a face, uint8 (48, 40): the frame's rectangle (x0, y0, x1, y1), shrunk."""

    luma: U8
    rectangle: tuple[int, int, int, int]


def patches(points: F32, luma: U8) -> list[Patch | None]:
    """The pictures around the points (n, 200, d), in pixels, of n faces; None where one is small."""
    low, high = bounds(points[:, :, :2])
    room = ROOM * (high - low)
    corners = np.concatenate([low - room, high + room + 1], 1).astype(int)
    corners = np.clip(corners, 0, (*luma.shape[::-1], *luma.shape[::-1]))
    return [_patch(luma, *corner) for corner in corners.tolist()]


def _patch(luma: U8, x0: int, y0: int, x1: int, y1: int) -> Patch | None:
    if min(x1 - x0, y1 - y0) < SMALLEST:
        return None
    return Patch(_shrunk(luma[y0:y1, x0:x1]), (x0, y0, x1, y1))


def _shrunk(part: U8) -> U8:
    # Whole pixels become one on the way, which is many times faster than shares of them.
    high, wide = part.shape
    step = max(1, min(wide // CELLS[0], high // CELLS[1]))
    if step > 1:
        whole = part[: high // step * step, : wide // step * step]
        part = np.asarray(cv2.resize(whole, (wide // step, high // step), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(part, CELLS, interpolation=cv2.INTER_LINEAR), np.uint8)


class Flow:
    """Tells motions. It keeps memory between calls: one for each thread."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        # All of the small picture, in two scales; the fewer of its patches overlap the faster, and it is exact enough.
        self._dis.setFinestScale(0)
        self._dis.setCoarsestScale(1)
        self._dis.setPatchStride(7)

    def carry(self, points: F32, cut: Sequence[Patch | None], luma: U8) -> NDArray[np.bool_]:
        """Move the points (n, 200, d) of n faces, in place, as the frame's luma moved since their patches were cut.

        Returns (n,): False where that cannot be told; those points stay.
        """
        carried = np.zeros(len(points), bool)
        high, wide = luma.shape
        inside = [(i, p) for i, p in enumerate(cut) if p and p.rectangle[2] <= wide and p.rectangle[3] <= high]
        if not inside:
            return carried
        rows = np.array([i for i, _ in inside])
        # Flow runs from the newer picture to the older one.
        shifts = np.stack([self._shifts(patch, luma) for _, patch in inside])
        corners = np.array([patch.rectangle for _, patch in inside], np.float32)[:, None]
        cell = (corners[..., 2:] - corners[..., :2]) / _SIZE
        # By cells' middles, in pixels from the patch's corner.
        ends = (np.stack([_COLUMNS, _ROWS], 1) + _HALF) * cell
        turns, moves, strays = _similarity(_complex(ends + shifts * cell), _complex(ends))
        good = strays <= STRAY * cell.mean((1, 2))
        moved = turns * _complex(points[rows, :, :2] - corners[..., :2]) + moves
        points[rows[good], :, :2] = (moved[..., None].view(np.float32) + corners[..., :2])[good]
        carried[rows[good]] = True
        return carried

    def _shifts(self, patch: Patch, luma: U8) -> F32:
        """float32 (m, 2): where the face's cells were when the patch was cut, less where they are, in cells."""
        x0, y0, x1, y1 = patch.rectangle
        flow = self._dis.calc(_shrunk(luma[y0:y1, x0:x1]), patch.luma, None)  # type: ignore[call-overload]
        return np.asarray(flow[_ROWS, _COLUMNS], np.float32)


def _similarity(a: C64, b: C64) -> tuple[C64, C64, F32]:
    """turn (n, 1), shift (n, 1) and median distance (n,) of b = turn · a + shift, for n sets (n, m) of complex points.

    Iteratively reweighted least squares with Cauchy's weight: lips that move, and a hand, lose theirs.
    """
    weight = np.ones(a.shape, np.float32)
    half = a.shape[1] // 2
    for last in (False, False, True):
        total = weight.sum(1, keepdims=True)
        middle, there = ((weight * c).sum(1, keepdims=True) / total for c in (a, b))
        da, db = a - middle, b - there
        spread = (weight * np.square(np.abs(da))).sum(1, keepdims=True) + np.float32(1e-6)
        turn = (weight * da.conj() * db).sum(1, keepdims=True) / spread
        rest = np.abs(db - turn * da)
        stray = np.sort(rest, 1)[:, half : half + 1]
        if not last:
            weight = np.asarray(1 / (1 + np.square(rest / (stray + np.float32(0.02)))), np.float32)
    return turn, there - turn * middle, np.asarray(stray[:, 0], np.float32)


def _complex(points: F32) -> C64:
    return np.ascontiguousarray(points, np.float32).view(np.complex64)[..., 0]
