"""Landmarks that stand still on a still face and do not lag behind a moving one.

An innovation is how far a new point lies from its filtered one, in face sizes. Noise is small and a real movement soon
is not, so each point takes the share of its innovation that the innovation's own size earns: little below ``noise``,
all of it from ``sure`` on. That is the One-Euro filter's idea (Casiez 2012: cut-off rises with speed) with the distance
itself in place of a filtered derivative, which would come a frame late: the error after a frame is bounded by
``sure`` face sizes, whatever the speed. The size is taken over each part of the face (an eye, the mouth, …) and over
the whole, whichever is larger: an eyelid that closes need not wait for the head, and a head that turns takes all along.

Where the picture is given, the filtered points first move as the picture under them does: the similarity that explains
the optical flow around them (``motion``). What is left of an innovation then is the
net's noise and the face's play, and a moving head is as calm as a still one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer.faces import topology
from anonymizer.faces.motion import Flow, Patch, patches
from anonymizer.frame import F32, U8


@dataclass(frozen=True)
class SmoothingSettings:
    """noise, sure: innovations as shares of the face's size (the root mean square distance of its points from their
    centre, about 0.9 eye distances). pixels: added to both, divided by the face's size in pixels, because the noise of
    small faces is pixels. settle: seconds within which an innovation below noise is taken up by 63 %. gap: seconds
    without the track after which it starts anew. carried: noise, sure and settle of a face whose points were moved by
    the picture's motion, times those. lids: noise and sure of the eyes, times those: a blink is small and over soon."""

    noise: float = 0.008
    sure: float = 0.03
    pixels: float = 0.1
    settle: float = 0.1
    gap: float = 0.5
    carried: tuple[float, float, float] = (2.0, 1.5, 2.0)
    lids: float = 0.6


class Smoother:
    """The filter's state for every track of one source. Time comes in as an argument."""

    def __init__(self, settings: SmoothingSettings | None = None) -> None:
        self._settings = settings or SmoothingSettings()
        self._tracks: dict[int, tuple[float, F32, Patch | None]] = {}
        self._flow = Flow()

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
            carried = np.zeros(len(known), bool) if luma is None else self._flow.carry(before, cut, luma)
            smooth[known] = _filtered(before, points[known], elapsed, carried, settings)
        fresh = [None] * len(tracks) if luma is None else patches(smooth, luma)
        for track, row, patch in zip(tracks, smooth.copy(), fresh, strict=True):
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

_LIDS = np.arange(len(_PARTS) + 1) < 2
"""(parts,): which of them are eyes."""

_MEANS = np.eye(len(_PARTS) + 1, dtype=np.float32)[_PART]
_MEANS = np.asarray(_MEANS / _MEANS.sum(0), np.float32)
"""(200, parts): what a part's mean is made of."""


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
    quick = np.where(_LIDS, np.float32(settings.lids), 1)
    low, high = quick * (settings.noise * noise + floor), quick * (settings.sure * sure + floor)
    ramp = np.clip((distance - low) / (high - low), 0, 1)
    least = 1 - np.exp(-elapsed[:, None] / (settings.settle * settle))
    share = np.asarray(least + (1 - least) * ramp * ramp * (3 - 2 * ramp), np.float32)
    innovation *= share.take(_PART, axis=1)[:, :, None]
    innovation += before
    return innovation
