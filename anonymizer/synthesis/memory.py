"""What is remembered of a track, so that its light and sharpness do not flicker."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from anonymizer.frame import F32

TIMES = {"gain": 0.12, "chroma": 0.12, "own": 1.0, "detail": 0.4}
"""Time constants in seconds: light follows quickly, proportions hardly change."""


@dataclass(slots=True)
class Trace:
    """gain, chroma: the light (``light.Light``); own: proportions (``shape``); detail: strength of the bands."""

    gain: F32
    chroma: F32
    own: F32
    detail: F32


class Memory:
    """The newest trace of each track. gap: seconds after which one is forgotten; size: how many are kept."""

    def __init__(self, gap: float, size: int) -> None:
        self._gap, self._size = gap, size
        self._traces: OrderedDict[int, tuple[float, Trace]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._traces)

    def blend(self, track: int, time: float, found: Trace) -> Trace:
        """What was found, smoothed over time (exponentially) with what the track had, and remembered."""
        before = self._traces.get(track)
        if before is not None and 0 <= time - before[0] < self._gap:
            passed, old = time - before[0], before[1]
            found = Trace(
                **{
                    name: getattr(old, name)
                    + np.float32(1 - np.exp(-passed / constant)) * (getattr(found, name) - getattr(old, name))
                    for name, constant in TIMES.items()
                }
            )
        self._traces[track] = time, found
        self._traces.move_to_end(track)
        if len(self._traces) > self._size:
            self._traces.popitem(last=False)
        return found
