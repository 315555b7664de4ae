"""From single sightings to a recognised track: thresholds with hysteresis, and what revokes it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from anonymizer.policy.rules import Certainty

REMEMBERED = 64
"""Sightings kept of a track. Who was recognised longer ago must be recognised anew: the safe side."""
FORGET_AFTER = 30.0


@dataclass(frozen=True, slots=True)
class Recognition:
    """What the recogniser said of a track once.

    member: the most similar enrolled person whose enrolment is valid, or "" where there is none. groups: that person's.
    similarity: cosine, -1 to 1. second: that of the next most similar other person. time: of the frame it was computed
    on, seconds on the camera's clock.
    """

    member: str
    groups: frozenset[str]
    similarity: float
    time: float
    second: float = -1.0


class Recognitions:
    """The sightings of one camera's tracks. Not thread-safe."""

    def __init__(self) -> None:
        self._sightings: dict[int, deque[Recognition]] = {}
        self._doubted: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._sightings)

    def add(self, track: int, sighting: Recognition) -> None:
        """Takes a sighting; one that is not newer than the last of its track is ignored."""
        sightings = self._sightings.setdefault(track, deque(maxlen=REMEMBERED))
        if not sightings or sighting.time > sightings[-1].time:
            sightings.append(sighting)

    def doubt(self, track: int, time: float) -> None:
        """Sightings up to time no longer count: another face touched this one, and tracks may have been exchanged."""
        self._doubted[track] = max(time, self._doubted.get(track, time))

    def forget(self, now: float) -> None:
        """Drops tracks without a sighting for FORGET_AFTER seconds."""
        for track in [t for t, s in self._sightings.items() if now - s[-1].time > FORGET_AFTER]:
            del self._sightings[track]
            self._doubted.pop(track, None)
        for track in [t for t, time in self._doubted.items() if now - time > FORGET_AFTER]:
            del self._doubted[track]

    def known(self, track: int, time: float, bounds: Certainty) -> Recognition | None:
        """The sighting that says who a track is at time, or None.

        Recognised after ``bounds.sightings`` in a row of one member at ``enter`` or above and ``lead`` before the next;
        ended at once by one below ``leave`` or without that lead, by another member, or by ``fresh`` seconds without a
        sighting. A sighting later than time (a frame may wait) can end recognition, never begin it.
        """
        sightings = self._sightings.get(track)
        if not sightings:
            return None
        doubted = self._doubted.get(track)
        known: Recognition | None = None
        previous: Recognition | None = None
        run = 0
        for sighting in sightings:
            if doubted is not None and sighting.time <= doubted:
                continue
            gap = previous is not None and sighting.time - previous.time > bounds.fresh
            same = previous is not None and sighting.member == previous.member and not gap
            clear = sighting.member != "" and sighting.similarity - sighting.second >= bounds.lead
            previous = sighting
            if known is not None and same and clear and sighting.similarity >= bounds.leave:
                known = sighting if sighting.time <= time else known
                continue
            if sighting.time > time:
                return None
            good = clear and sighting.similarity >= bounds.enter
            run = (run + 1 if same else 1) if good else 0
            known = sighting if run >= bounds.sightings else None
        return known if known is not None and time - known.time <= bounds.fresh else None
