"""What is remembered of a track: its light and sharpness do not flicker, and need not be measured in every frame."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from anonymizer.frame import F32

K = TypeVar("K")
V = TypeVar("V")
Key = tuple[int, bytes]
"""A track and the key of the identity it is shown with."""

TIMES = {"gain": 0.12, "chroma": 0.12, "own": 4.0}
SHARPNESS = 0.4
"""Time constants in seconds: light follows quickly. Proportions do not change: what seems to is the face's play, which
is not to be taken out with them."""

EVERY = 0.2
"""Seconds after which sharpness is measured again."""

LATELY = 0.2
"""Seconds before the newest trace within which a track counts as drawn lately."""


@dataclass(slots=True)
class Trace:
    """gain, chroma: the light (``light.Light``); own: proportions (``shape``)."""

    gain: F32
    chroma: F32
    own: F32


@dataclass(slots=True)
class Sharpness:
    """Strength of the bands (``detail.strength``): the original's, and the drawing's before it is matched."""

    wanted: F32
    drawn: F32


class Memory:
    """The newest trace and sharpness of each track. gap: seconds after which they are forgotten; size: how many are
    kept."""

    def __init__(self, gap: float, size: int) -> None:
        self._gap, self._size = gap, size
        self._newest = 0.0
        self._traces: OrderedDict[Key, tuple[float, Trace]] = OrderedDict()
        self._sharpness: OrderedDict[Key, tuple[float, Sharpness]] = OrderedDict()
        self._drawn: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return max(len(self._traces), len(self._sharpness))

    def blend(self, key: Key, time: float, found: Trace) -> Trace:
        """What was found, smoothed over time (exponentially) with what the track had, and remembered."""
        before = self._traces.get(key)
        if before is not None and 0 <= time - before[0] < self._gap:
            old = before[1]
            for name, constant in TIMES.items():
                setattr(found, name, _between(getattr(old, name), getattr(found, name), time - before[0], constant))
        _keep(self._traces, key, (time, found), self._size)
        _keep(self._drawn, key[0], time, self._size)
        self._newest = time
        return found

    def lately(self, track: int) -> bool:
        """Whether the track was drawn a moment ago, as whoever."""
        return self._newest - self._drawn.get(track, -math.inf) <= LATELY

    def known(self, key: Key, time: float) -> Sharpness | None:
        """The track's sharpness, or None where it must be measured."""
        before = self._sharpness.get(key)
        return before[1] if before is not None and 0 <= time - before[0] < min(EVERY, self._gap) else None

    def measured(self, key: Key, time: float, found: Sharpness) -> Sharpness:
        """What was measured, smoothed and remembered."""
        before = self._sharpness.get(key)
        if before is not None and 0 <= time - before[0] < self._gap:
            old, passed = before[1], time - before[0]
            wanted = _between(old.wanted, found.wanted, passed, SHARPNESS)
            found = Sharpness(wanted, _between(old.drawn, found.drawn, passed, SHARPNESS))
        _keep(self._sharpness, key, (time, found), self._size)
        return found


def _between(old: F32, new: F32, passed: float, constant: float) -> F32:
    return np.asarray(old + (1 - math.exp(-passed / constant)) * (new - old), np.float32)


def _keep(kept: OrderedDict[K, V], key: K, value: V, size: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > size:
        kept.popitem(last=False)
