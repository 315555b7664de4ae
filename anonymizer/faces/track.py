"""A track: one face over time, as a list of sightings, and where that face is between them, before and after.

Pure: nothing reads a clock, and what is to be covered is the tracker's to say. Times are seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from anonymizer.frame import F32

State = tuple[float, float, float, float]
"""Centre x and y, width and height of a face in pixels."""

VELOCITY_SPAN = 0.5
"""Seconds of sightings from which a velocity is taken."""
SMOOTHING = 0.3
"""Seconds around a time whose sightings place the face: boxes tremble, faces move evenly for so long."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A detection that belongs to a track. points: as in Face."""

    time: float
    state: State
    score: float
    points: F32


@dataclass(slots=True, eq=False)
class Track:
    """One face over time.

    sightings: oldest first. seen: how many there ever were. misses: passes that looked for the face since its last
    sighting, and did not find it; missed: all of them. traced: whether it was followed into the past. best: its highest
    score; total: the sum of them. evident: whether its weak sightings, taken together, make a face. start, end: where
    it was at the first and at the last sighting; entering, leaving: pixels a second there.
    """

    number: int
    sightings: list[Sighting] = field(default_factory=list)
    seen: int = 0
    misses: int = 0
    missed: int = 0
    traced: bool = False
    best: float = 0.0
    total: float = 0.0
    evident: bool = False
    start: State = (0.0, 0.0, 0.0, 0.0)
    end: State = (0.0, 0.0, 0.0, 0.0)
    entering: tuple[float, float] = (0.0, 0.0)
    leaving: tuple[float, float] = (0.0, 0.0)

    def add(self, sighting: Sighting) -> None:
        self.sightings.append(sighting)
        self.seen += 1
        self.misses = 0
        self.best = max(self.best, sighting.score)
        self.total += sighting.score
        self.end, self.leaving = self._smoothed(self.last), _velocity(self.sightings, self.last)
        if self.last - self.first <= VELOCITY_SPAN:
            self.start, self.entering = self._smoothed(self.first), _velocity(self.sightings, self.first)

    def extend_back(self, sighting: Sighting) -> None:
        """Put an older sighting before the first."""
        self.sightings.insert(0, sighting)
        self.seen += 1
        self.total += sighting.score
        self.start, self.entering = self._smoothed(self.first), _velocity(self.sightings, self.first)

    @property
    def first(self) -> float:
        return self.sightings[0].time

    @property
    def last(self) -> float:
        return self.sightings[-1].time

    def around(self, time: float) -> tuple[Sighting, Sighting]:
        """The sightings before and after ``time``; the same one twice where there is none on one side."""
        if time >= self.last:
            return self.sightings[-1], self.sightings[-1]
        i = bisect_right(self.sightings, time, key=lambda s: s.time)
        return self.sightings[max(0, i - 1)], self.sightings[i]

    def gap(self, time: float) -> float:
        """Seconds from ``time`` to the nearest sighting."""
        before, after = self.around(time)
        return min(abs(time - before.time), abs(after.time - time))

    def state_at(self, time: float) -> State:
        """Where the face is at ``time``."""
        if self.first <= time <= self.last:
            return self._smoothed(time)
        late = time > self.last
        (x, y, width, height), (vx, vy) = (self.end, self.leaving) if late else (self.start, self.entering)
        drift = _drift(time - (self.last if late else self.first))
        return x + vx * drift, y + vy * drift, width, height

    def _smoothed(self, time: float) -> State:
        """The line through the sightings around ``time``, fitted by weighted least squares: the nearer the heavier.

        Where fewer than three are near, or only some on one side, that is the interpolation between the sightings
        before and after. Sizes stay at least as large as the smallest of those that the line goes through.
        """
        before, after = self.around(time)
        near = [(s.time - time, s) for s in self.sightings if abs(s.time - time) < SMOOTHING]
        if len(near) < 3 or near[0][0] > 0 or near[-1][0] < 0:
            near = [(s.time - time, s) for s in (before, after)]
        reach = max(SMOOTHING, *(1.01 * abs(dt) for dt, _ in near))
        weights = [s.score * (1 - abs(dt) / reach) for dt, s in near]
        total = sum(weights)
        centre = sum(w * dt for w, (dt, _) in zip(weights, near, strict=True)) / total
        spread = sum(w * (dt - centre) ** 2 for w, (dt, _) in zip(weights, near, strict=True)) + 1e-9
        # The fitted line at dt = 0 is a weighted sum of the sightings.
        shares = [w / total - w * (dt - centre) * centre / spread for w, (dt, _) in zip(weights, near, strict=True)]
        x, y, width, height = (sum(k * s.state[i] for k, (_, s) in zip(shares, near, strict=True)) for i in range(4))
        width, height = (max(v, min(s.state[i] for _, s in near)) for i, v in ((2, width), (3, height)))
        return x, y, width, height

    def score_near(self, time: float) -> float:
        """Mean score of the sightings near ``time``."""
        near = [s.score for s in self.sightings if abs(s.time - time) <= VELOCITY_SPAN]
        return sum(near) / len(near) if near else self.total / self.seen

    def points_at(self, time: float) -> F32:
        """Where the five points are at ``time``: float32 (5, 2)."""
        before, after = self.around(time)
        if before.time <= time < after.time:
            share = np.float32((time - before.time) / (after.time - before.time))
            return before.points + (after.points - before.points) * share
        x, y, _, _ = self.state_at(time)
        return before.points + np.array((x - before.state[0], y - before.state[1]), np.float32)


def _drift(dt: float) -> float:
    """Seconds of motion at the last known velocity after ``dt`` seconds: what moves stops, with a time constant."""
    constant = 0.4
    return math.copysign(constant * (1 - math.exp(-abs(dt) / constant)), dt)


def _velocity(sightings: Sequence[Sighting], time: float) -> tuple[float, float]:
    """Pixels a second: least squares over the sightings within VELOCITY_SPAN of ``time``, pulled towards zero where
    they are few and close together in time, because boxes tremble."""
    near = [s for s in sightings if abs(s.time - time) <= VELOCITY_SPAN]
    mean = sum(s.time for s in near) / len(near)
    spread = sum((s.time - mean) ** 2 for s in near) + 0.1**2
    vx = sum((s.time - mean) * s.state[0] for s in near) / spread
    vy = sum((s.time - mean) * s.state[1] for s in near) / spread
    return vx, vy
