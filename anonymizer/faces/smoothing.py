"""Landmarks that stand still on a still face and do not lag behind a moving one.

An innovation is how far a new point lies from its filtered one, in face sizes. Noise is small and a real movement soon
is not, so each point takes the share of its innovation that the innovation's own size earns: little below ``noise``,
all of it from ``sure`` on. That is the One-Euro filter's idea (Casiez 2012: cut-off rises with speed) with the distance
itself in place of a filtered derivative, which would come a frame late: the error after a frame is bounded by
``sure`` face sizes, whatever the speed. The size is taken over each part of the face (an eye, the mouth, …) and over
the whole, whichever is larger: an eyelid that closes need not wait for the head, and a head that turns takes all along.

Where the picture is given, the filtered points first move as the picture under them does: the similarity that explains
the optical flow (Lucas and Kanade 1981, pyramids by Bouguet) of some of them. What is left of an innovation then is the
net's noise and the face's play, and a moving head is as calm as a still one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.faces import topology
from anonymizer.frame import F32, U8, bounds


@dataclass(frozen=True)
class SmoothingSettings:
    """noise, sure: innovations as shares of the face's size (the root mean square distance of its points from their
    centre, about 0.9 eye distances). pixels: added to both, divided by the face's size in pixels, because the noise of
    small faces is pixels. settle: seconds within which an innovation below noise is taken up by 63 %. gap: seconds
    without the track after which it starts anew. carried: noise, sure and settle of a face whose points were moved by
    the picture's motion, times those."""

    noise: float = 0.008
    sure: float = 0.03
    pixels: float = 0.1
    settle: float = 0.1
    gap: float = 0.5
    carried: tuple[float, float, float] = (2.0, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class _Patch:
    """A small picture of a face: the frame's rectangle from x0, y0 to x1, y1, and how many of its pixels make one."""

    luma: U8
    x0: int
    y0: int
    x1: int
    y1: int
    step: int


class Smoother:
    """The filter's state for every track of one source. Time comes in as an argument."""

    def __init__(self, settings: SmoothingSettings | None = None) -> None:
        self._settings = settings or SmoothingSettings()
        self._tracks: dict[int, tuple[float, F32, _Patch | None]] = {}

    def __call__(self, tracks: Sequence[int], points: F32, time: float, luma: U8 | None = None) -> F32:
        """points: float32 (n, 200, 2) or, with depth, (n, 200, 3), pixels of the frame, one row a track; time: seconds,
        rising; luma: uint8 (height, width) of the frame, or None. Returns the filtered points, a new array of the same
        shape."""
        settings = self._settings
        smooth = points.copy()
        known = [
            i
            for i, track in enumerate(tracks)
            if track in self._tracks
            and 0 < time - self._tracks[track][0] <= settings.gap
            and self._tracks[track][1].shape == points[i].shape
        ]
        if known:
            before = np.stack([self._tracks[tracks[i]][1] for i in known])
            elapsed = np.array([time - self._tracks[tracks[i]][0] for i in known], np.float32)
            cut = [self._tracks[tracks[i]][2] for i in known]
            carried = np.zeros(len(known), bool) if luma is None else _carry(before, cut, luma)
            smooth[known] = _filtered(before, points[known], elapsed, carried, settings)
        patches = [None] * len(tracks) if luma is None else _patches(smooth, luma)
        for track, row, patch in zip(tracks, smooth.copy(), patches, strict=True):
            self._tracks[track] = time, row, patch
        return smooth

    def last(self, track: int) -> F32 | None:
        """float32 (200, 2): where the track's points were in the frame before; None where it is new."""
        return self._tracks[track][1][:, :2] if track in self._tracks else None

    def keep(self, tracks: Collection[int]) -> None:
        """Forget all other tracks."""
        self._tracks = {track: state for track, state in self._tracks.items() if track in tracks}


_PARTS = (
    np.append(topology.EYE_RIGHT, topology.IRIS_RIGHT),
    np.append(topology.EYE_LEFT, topology.IRIS_LEFT),
    np.concatenate([topology.LIPS_OUTER, topology.LIPS_INNER]),
    topology.BROW_RIGHT,
    topology.BROW_LEFT,
)
_PART = np.full(topology.COUNT, len(_PARTS))
"""(200,): the number of each point's part; the last one is the rest of the face."""
for _number, _points in enumerate(_PARTS):
    _PART[_points] = _number

_MEANS = np.eye(len(_PARTS) + 1, dtype=np.float32)[_PART]
_MEANS = np.asarray(_MEANS / _MEANS.sum(0), np.float32)
"""(200, parts): what a part's mean is made of."""

SMALLEST = 40
"""Pixels of a patch's sides at least: nobody sees smaller faces tremble, and a crowd of them costs too much."""

SIDE = 96
"""Pixels of a patch's longer side at most."""

ROOM = 0.1
"""Around the points, as a share of their extent."""

WINDOW, LEVELS, STEPS = (11, 11), 2, (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 4, 0.02)
"""Of the optical flow: pixels of the patch, halvings of it, and when it ends."""

FEWEST = 10
"""Points that must have been found again."""

STRAY = 1.5
"""Pixels of the patch: where half of the points stray from the similarity by more, it is not believed."""

_FOLLOWED = np.concatenate(
    [
        topology.EYE_RIGHT[::4],
        topology.EYE_LEFT[::4],
        topology.BROW_RIGHT[::3],
        topology.BROW_LEFT[::3],
        topology.LIPS_OUTER[::5],
        topology.points(168, 197, 5, 1, 2, 98, 327, 50, 280, 151, 104, 333, 9),
    ]
)
_HALF = np.float32(0.5)


def _patches(points: F32, luma: U8) -> list[_Patch | None]:
    """The pictures around the points (n, 200, d) of n faces; None where one is small."""
    low, high = bounds(points[:, :, :2])
    room = ROOM * (high - low)
    corners = np.concatenate([low - room, high + room], 1).astype(int).tolist()
    return [_patch(luma, max(0, x0), max(0, y0), x1 + 1, y1 + 1) for x0, y0, x1, y1 in corners]


def _patch(luma: U8, x0: int, y0: int, x1: int, y1: int) -> _Patch | None:
    wide, high = min(luma.shape[1], x1) - x0, min(luma.shape[0], y1) - y0
    if min(wide, high) < SMALLEST:
        return None
    # Whole pixels become one, which is many times faster than shares of them.
    step = -(-max(wide, high) // SIDE)
    x1, y1 = x0 + wide // step * step, y0 + high // step * step
    return _Patch(_shrunk(luma[y0:y1, x0:x1], step), x0, y0, x1, y1, step)


def _shrunk(part: U8, step: int) -> U8:
    """A copy of a rectangle of luma, step × step pixels made one."""
    if step == 1:
        return part.copy()
    size = part.shape[1] // step, part.shape[0] // step
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)


def _carry(points: F32, patches: Sequence[_Patch | None], luma: U8) -> NDArray[np.bool_]:
    """Move the points (n, 200, d) of n faces, in place, as the picture moved since their patches were cut.

    Returns (n,): False where that cannot be told; those points stay.
    """
    carried = np.zeros(len(points), bool)
    inside = [(i, p) for i, p in enumerate(patches) if p and p.x1 <= luma.shape[1] and p.y1 <= luma.shape[0]]
    if not inside:
        return carried
    rows = np.array([i for i, _ in inside])
    corners = np.array([(patch.x0, patch.y0) for _, patch in inside], np.float32)[:, None]
    scales = np.array([1 / patch.step for _, patch in inside], np.float32)[:, None, None]
    # From pixel edges, which points are measured in, to pixel centres, which the flow counts in.
    places = (points[rows, :, :2] - corners) * scales - _HALF
    starts = np.ascontiguousarray(places[:, _FOLLOWED])
    ends, found = np.empty_like(starts), np.empty(starts.shape[:2], bool)
    for k, (_, patch) in enumerate(inside):
        now = _shrunk(luma[patch.y0 : patch.y1, patch.x0 : patch.x1], patch.step)
        _, status, _ = cv2.calcOpticalFlowPyrLK(
            patch.luma, now, starts[k], ends[k], winSize=WINDOW, maxLevel=LEVELS, criteria=STEPS
        )
        found[k] = status[:, 0]
    enough = found.sum(1) >= FEWEST
    rows, places, corners, scales = rows[enough], places[enough], corners[enough], scales[enough]
    turns, shifts, strays = _similarity(starts[enough], ends[enough], found[enough])
    moved = (turns * _complex(places) + shifts)[..., None].view(np.float32)
    good = strays <= STRAY
    points[rows[good], :, :2] = ((moved + _HALF) / scales + corners)[good]
    carried[rows[good]] = True
    return carried


def _similarity(
    starts: F32, ends: F32, found: NDArray[np.bool_]
) -> tuple[NDArray[np.complex64], NDArray[np.complex64], F32]:
    """turn (n, 1), shift (n, 1) and median distance (n,) of end = turn · start + shift, for n sets of points (m, 2) as
    complex numbers; found: (n, m), which of them count: some of each set.

    Iteratively reweighted least squares with Cauchy's weight: lips that move, and a hand, lose theirs.
    """
    a, b = _complex(starts), np.where(found, _complex(ends), 0)
    weight = found.astype(np.float32)
    half = found.sum(1, keepdims=True) // 2
    for last in (False, False, True):
        total = weight.sum(1, keepdims=True)
        middle, there = ((weight * c).sum(1, keepdims=True) / total for c in (a, b))
        da, db = a - middle, b - there
        spread = (weight * np.square(np.abs(da))).sum(1, keepdims=True) + np.float32(1e-6)
        turn = (weight * da.conj() * db).sum(1, keepdims=True) / spread
        rest = np.where(found, np.abs(db - turn * da), np.float32(np.inf))
        stray = np.take_along_axis(np.sort(rest, 1), half, 1)
        if not last:
            weight = np.asarray(1 / (1 + np.square(rest / (stray + np.float32(0.02)))), np.float32)
    return turn, there - turn * middle, np.asarray(stray[:, 0], np.float32)


def _complex(points: F32) -> NDArray[np.complex64]:
    return np.ascontiguousarray(points, np.float32).view(np.complex64)[..., 0]


def _filtered(before: F32, now: F32, elapsed: F32, carried: NDArray[np.bool_], settings: SmoothingSettings) -> F32:
    """One step for n faces at once: (n, 200, d) twice, (n,) seconds, (n,) whether it was carried → (n, 200, d)."""
    rows = np.ascontiguousarray(now[:, :, :2].transpose(0, 2, 1))  # see frame.extent
    rows -= rows.mean(2, keepdims=True)
    size = np.sqrt(np.square(rows).sum((1, 2)) / rows.shape[2]) + np.float32(1e-6)
    innovation = now - before
    x, y = innovation[:, :, 0], innovation[:, :, 1]
    squared = (x * x + y * y) / np.square(size)[:, None]
    distance = np.sqrt(np.maximum(squared @ _MEANS, squared.mean(1)[:, None]))
    floor = settings.pixels / size[:, None]
    noise, sure, settle = (np.where(carried, more, 1.0)[:, None] for more in settings.carried)
    low, high = settings.noise * noise + floor, settings.sure * sure + floor
    ramp = np.clip((distance - low) / (high - low), 0, 1)
    least = 1 - np.exp(-elapsed[:, None] / (settings.settle * settle))
    share = np.asarray(least + (1 - least) * ramp * ramp * (3 - 2 * ramp), np.float32)
    innovation *= share.take(_PART, axis=1)[:, :, None]
    innovation += before
    return innovation
