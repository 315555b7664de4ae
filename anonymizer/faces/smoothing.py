"""Landmarks that stand still on a still face and do not lag behind a moving one.

An innovation is how far a new point lies from its filtered one, in face sizes. Noise is small and a real movement soon
is not, so each point takes the share of its innovation that the innovation's own size earns: little below ``noise``,
all of it from ``sure`` on. That is the One-Euro filter's idea (Casiez 2012: cut-off rises with speed) with the distance
itself in place of a filtered derivative, which would come a frame late: the error after a frame is bounded by
``sure`` face sizes, whatever the speed. The size is taken over each part of the face (an eye, the mouth, …) and over
the whole, whichever is larger: an eyelid that closes need not wait for the head, and a head that turns takes all along.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from anonymizer.faces import topology
from anonymizer.frame import F32


@dataclass(frozen=True)
class SmoothingSettings:
    """noise, sure: innovations as shares of the face's size (the root mean square distance of its points from their
    centre, about 0.9 eye distances). pixels: added to both, divided by the face's size in pixels, because the noise of
    small faces is pixels. settle: seconds within which an innovation below noise is taken up by 63 %. gap: seconds
    without the track after which it starts anew."""

    noise: float = 0.008
    sure: float = 0.03
    pixels: float = 0.1
    settle: float = 0.25
    gap: float = 0.5


class Smoother:
    """The filter's state for every track of one source. Time comes in as an argument."""

    def __init__(self, settings: SmoothingSettings | None = None) -> None:
        self._settings = settings or SmoothingSettings()
        self._tracks: dict[int, tuple[float, F32]] = {}

    def __call__(self, tracks: Sequence[int], points: F32, time: float) -> F32:
        """points: float32 (n, 200, 2) or, with depth, (n, 200, 3), pixels of the frame, one row a track; time: seconds,
        rising. Returns the filtered points, a new array of the same shape."""
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
            smooth[known] = _filtered(before, points[known], elapsed, settings)
        for i, track in enumerate(tracks):
            self._tracks[track] = time, smooth[i].copy()
        return smooth

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
_REST = np.setdiff1d(np.arange(topology.COUNT), np.concatenate(_PARTS))


def _filtered(before: F32, now: F32, elapsed: F32, settings: SmoothingSettings) -> F32:
    """One step for n faces at once: (n, 200, d) twice and (n,) seconds → (n, 200, d)."""
    centred = now[:, :, :2] - now[:, :, :2].mean(1, keepdims=True)
    size = np.sqrt((centred**2).sum(2).mean(1)) + 1e-6
    innovation = now - before
    squared = (innovation[:, :, :2] ** 2).sum(2) / size[:, None] ** 2
    whole = squared.mean(1)
    distance = np.empty_like(squared)
    for part in (*_PARTS, _REST):
        distance[:, part] = np.sqrt(np.maximum(squared[:, part].mean(1), whole))[:, None]
    floor = settings.pixels / size[:, None]
    low, high = settings.noise + floor, settings.sure + floor
    ramp = np.clip((distance - low) / (high - low), 0, 1)
    least = (1 - np.exp(-elapsed / settings.settle))[:, None]
    share = least + (1 - least) * ramp * ramp * (3 - 2 * ramp)
    return np.asarray(before + share[:, :, None] * innovation, np.float32)
