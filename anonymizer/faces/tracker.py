"""Tracks: which detections over time are one face, and where that face is between them.

The tracker serves privacy first, so doubt covers. In short:

- A track is a list of sightings (time, box, score, points). Where its face is at any time follows from them alone:
  between two sightings by a line through those around it, before the first and after the last by the velocity of the
  nearest ones (``Track.state_at``). The farther in time the nearest sighting, the larger the box (``Tracker.box_at``).
- ``Tracker.update`` takes the detections of one pass. Strong ones are paired with tracks first, then weak ones with the
  tracks that are left; what remains begins new tracks if it is not too weak.
- A track never seen well is dropped when passes that looked for it did not find it again, too often.
- Where ``evidence`` is asked for, detections too weak to begin a track begin one that counts for nothing, until it was
  seen so long and so often that it is no accident: true faces are found faintly again and again, noise is not.
- A track that is new and proven is followed into the past, through detections too weak to begin one; a large one in
  doubt not far through faint ones.
- ``Tracker.faces`` says what to cover at a time, which may lie before the newest pass: that is how a look-ahead turns
  extrapolation into interpolation and covers a face before it was first found.

Everything is a function of the times and detections handed in; nothing reads a clock. Times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer.boxes import union
from anonymizer.faces.assignment import assign
from anonymizer.faces.detectors import Detections, overlaps, suppress
from anonymizer.faces.track import Sighting, State, Track
from anonymizer.frame import Box, Face

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class TrackerSettings:
    """low, start, sure: scores. A detection continues a track from ``low``, begins one from ``start``, and from
    ``sure`` on proves a face alone; weaker ones must be seen twice.

    strong: detections from this score on choose their track first.
    hold: seconds a proven face is covered after it was last seen, a doubtful one half as long. reach: seconds in which
    a lost track is taken up again.
    backfill: seconds a face is covered before it was first seen (bounded by the look-ahead too); a large one in doubt
    for ``hold`` only.
    margin: share of the box's size added on each side. growth: the same per second to the nearest sighting.
    most: the largest share added on each side.
    refuted_by: passes without it for each pass with it that end a track never seen well.
    evidence: mean score of the passes since its first sighting, each without it counting 0, that makes a face of a
    track whose scores never reached ``start``; 0 where no number of weak sightings does.
    faint: shares of the box's width added on both sides, and of its height above and below, where the face is as faint
    as ``low``: such boxes are only about right. The better it is seen, the less; from ``sure`` on nothing.
    """

    low: float = 0.25
    start: float = 0.35
    strong: float = 0.5
    sure: float = 0.8
    hold: float = 0.25
    reach: float = 1.5
    backfill: float = 0.5
    margin: float = 0.15
    growth: float = 0.3
    most: float = 0.6
    refuted_by: int = 2
    evidence: float = 0.0
    faint: tuple[float, float, float] = (0.0, 0.0, 0.0)


LONG = 0.3
"""Seconds over which weak sightings must be spread, to make a face together."""
BRIEF, WALKING = 0.1, 1.5
"""A face whose sightings span at most BRIEF seconds is taken to move at least at WALKING face sizes a second: its
velocity is not known yet."""
OFTEN = 5
"""Sightings, ``strong`` on the mean, that make a track as certain as a sure one does."""
VAIN, LARGE, GONE = 3, 64, 0.6
"""Looks in vain after which a face of at least LARGE pixels is gone, and the share of its hold that is left then. One
never seen well is in doubt until it was found in VAIN looks more than it was not."""
MOMENT = 0.2
"""Seconds for which a print or a hand may look like a face at every look: what was seen for less is in doubt too."""


class Tracker:
    """All tracks of one camera."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self.tracks: list[Track] = []
        self._loose: list[Sighting] = []  # too weak to begin a track, or of a track that was dropped
        self._next = 1

    def update(self, time: float, found: Detections, looked: Sequence[Box] | None = None) -> None:
        """Take the detections of one pass over the frame at ``time``, which never goes back.

        looked: the regions the pass looked at, or None for the whole picture. The order of the detections does not
        matter.
        """
        s = self.settings
        found = suppress(found.take(found.scores >= s.low))
        states = found.boxes.astype(np.float64)
        states[:, :2] += states[:, 2:] / 2
        sightings = [
            Sighting(time, (x, y, width, height), score, points)
            for (x, y, width, height), score, points in zip(
                states.tolist(), found.scores.tolist(), found.points, strict=True
            )
        ]
        open_tracks = [t for t in self.tracks if time - t.last <= s.reach]
        free = list(range(len(found)))
        matched: list[Track] = []
        for wanted in (found.scores >= s.strong, found.scores < s.strong):
            rows = [t for t in open_tracks if t not in matched]
            columns = [i for i in free if wanted[i]]
            for row, column in assign(self._costs(rows, states[columns], time)):
                chosen = columns[column]
                rows[row].add(sightings[chosen])
                matched.append(rows[row])
                free.remove(chosen)
        for track in open_tracks:
            if track not in matched and _inside(track.state_at(time), looked):
                track.misses += 1
                track.missed += 1
        for i in free:
            if sightings[i].score < s.start and not s.evidence:
                self._loose.append(sightings[i])
            else:
                track = Track(self._next)
                track.add(sightings[i])
                self.tracks.append(track)
                self._next += 1
        for track in self.tracks:
            if not track.traced and self._proven(track):
                self._trace_back(track)
            track.evident = track.evident or self._evident(track)
        for track in [t for t in self.tracks if self._refuted(t)]:
            if not s.evidence:
                self._loose += track.sightings
            self.tracks.remove(track)

    def faces(self, time: float) -> list[Face]:
        """What to cover at ``time``, ordered by track; no face twice. Boxes may reach over the picture's edge."""
        s = self.settings
        shown = [
            t
            for t in self.tracks
            if (t.best >= s.start or t.evident) and t.first - self._before(t) <= time <= t.last + self._hold(t)
        ]
        boxes = np.array([self.box_at(t, time) for t in shown]).reshape(-1, 4)
        guessed = np.array([t.gap(time) > 0.25 for t in shown], bool)
        faces = []
        for i, track in enumerate(shown):
            # A track that only guesses, under the box of one that knows, is the same face or covered anyway.
            if guessed[i] and _covered(track, time, boxes[~guessed]):
                continue
            before, after = track.around(time)
            x, y, width, height = map(float, boxes[i])
            centre_x, centre_y, own_width, own_height = map(float, track.state_at(time))
            faces.append(
                Face(
                    track.number,
                    (x, y, width, height),
                    before.score,
                    seen=(centre_x - own_width / 2, centre_y - own_height / 2, own_width, own_height),
                    points=track.points_at(time),
                    seen_at=max(before.time, after.time),
                )
            )
        return faces

    def box_at(self, track: Track, time: float) -> Box:
        """What to cover at ``time``: the face and a margin, which grows with the time to the nearest sighting, and
        the more so the faster the face moves, the way it moves; and the fainter the face, the larger. What was seen
        at that very time is in it."""
        s = self.settings
        x, y, width, height = track.state_at(time)
        across, along = s.growth, s.growth
        if not track.first <= time <= track.last:
            size, least = math.sqrt(width * height), WALKING if track.last - track.first <= BRIEF else 0.0
            vx, vy = map(abs, track.leaving if time > track.last else track.entering)
            if s.evidence:  # nothing may be missed, and faint boxes say little of where they go
                vx = vy = math.hypot(vx, vy)
            across += 0.25 * max(vx / size, least)
            along += 0.25 * max(vy / size, least)
        gap = track.gap(time)
        doubt = (s.sure - track.score_near(time)) / (s.sure - s.low)
        margins = (s.margin + max(0.0, doubt) * share for share in s.faint)
        grown = (across * gap, along * gap, along * gap)
        beside, above, below = (
            min(margin + more, max(s.most, margin)) for margin, more in zip(margins, grown, strict=True)
        )
        left, top = x - width * (0.5 + beside), y - height * (0.5 + above)
        box = left, top, width * (1 + 2 * beside), height * (1 + above + below)
        # The line through many sightings may miss one: a head that nods, a camera that is knocked.
        for sighting in track.around(time):
            if abs(sighting.time - time) < 1e-3:
                x, y, width, height = sighting.state
                box = union(box, (x - width / 2, y - height / 2, width, height))
        return box

    def restart(self) -> None:
        """Forget all tracks; later ones get new numbers."""
        self.tracks, self._loose = [], []

    def _refuted(self, track: Track) -> bool:
        """Seen only weakly, and missed too often where it was looked for."""
        return track.best < self.settings.sure and track.missed >= self.settings.refuted_by * track.seen

    def _trace_back(self, track: Track) -> None:
        """Follow a new track into the past, through earlier detections that proved nothing by themselves.

        Until the doubt is gone, what is dubious is followed through faint ones for a MOMENT only: beyond, a whole look
        did not find it, and prints and hands leave faint ones too.
        """
        track.traced = not self._dubious(track)
        s = self.settings
        for sighting in sorted(self._loose, key=lambda one: (-one.time, -one.score, one.state)):
            reach = s.backfill if track.traced or sighting.score >= s.start else MOMENT
            near = 0 < track.first - sighting.time <= reach
            if near and np.isfinite(self._costs([track], np.array([sighting.state]), sighting.time)[0, 0]):
                track.extend_back(sighting)
                self._loose.remove(sighting)

    def _proven(self, track: Track) -> bool:
        """Seen twice, or once and well; never only faintly."""
        return track.best >= (self.settings.start if track.seen > 1 else self.settings.sure)

    def _dubious(self, track: Track) -> bool:
        """Large and in doubt: a print on a shirt or a hand as likely as a face. Not where nothing may be missed."""
        s = self.settings
        doubtful = track.seen < track.missed + VAIN or track.last - track.first < MOMENT
        return doubtful and track.best < s.sure and track.start[3] >= LARGE and not s.evidence

    def _evident(self, track: Track) -> bool:
        """Seen for some time, in most passes, and not too faintly."""
        passes = track.seen + track.missed
        long = track.last - track.first >= LONG and 2 * track.seen >= passes
        return long and 0 < self.settings.evidence * passes <= track.total

    def _hold(self, track: Track) -> float:
        """Seconds; all of ``hold`` for what was seen well, or for long: many fair looks are as good as one sure one. A
        large face that look after look did not find again, as a look-ahead shows, has turned away or is hidden."""
        s = self.settings
        known = track.best >= s.sure or (track.seen >= OFTEN and track.total >= s.strong * track.seen)
        gone = track.misses >= VAIN and track.end[3] >= LARGE and not s.evidence
        return s.hold * (0.5 if not known else GONE if gone else 1.0)

    def _before(self, track: Track) -> float:
        """Seconds; what is faint was there before its first sighting for as long as it is held after its last. What is
        dubious was not there for long, or looks would have found it."""
        if self._proven(track):
            return self.settings.hold if self._dubious(track) else self.settings.backfill
        return self._hold(track) if track.evident else 0.0

    def forget(self, before: float) -> None:
        """Drop what no call of ``faces`` for a time after ``before``, and no later detection, can need."""
        s = self.settings
        self.tracks = [t for t in self.tracks if t.last + max(s.hold, s.reach) >= before]
        self._loose = [sighting for sighting in self._loose if sighting.time >= before]
        for track in self.tracks:
            old = [i for i, sighting in enumerate(track.sightings) if sighting.time < before - 1.0]
            del track.sightings[: min(len(old), len(track.sightings) - 1)]

    def _costs(self, tracks: list[Track], states: F64, time: float) -> F64:
        """Cost of pairing each track with each detection, float64 (n, m); infinite where it cannot be the same face.

        Distance of the centres in mean face sizes plus the difference of the sizes' logarithms; the longer a track
        was not seen, the more of both is allowed. Tracks seen once yield to proven ones.
        """
        if not tracks or not len(states):
            return np.zeros((len(tracks), len(states)))
        expected = np.array([t.state_at(time) for t in tracks])
        gap = np.array([t.gap(time) for t in tracks])[:, None]
        size, seen = np.sqrt(expected[:, 2] * expected[:, 3])[:, None], np.sqrt(states[:, 2] * states[:, 3])[None]
        apart = np.hypot(*(expected[:, None, :2] - states[None, :, :2]).transpose(2, 0, 1)) / ((size + seen) / 2)
        ratio = np.abs(np.log(size / seen))
        doubt = np.array([t.seen == 1 for t in tracks])[:, None]
        # Who walks past a near camera moves six face sizes a second, and a track seen once has no velocity yet.
        reach = np.minimum(0.7 + np.where(doubt, 6.0, 1.5) * gap, 2.0)
        possible = (apart < reach) & (ratio < np.minimum(0.6 + 0.6 * gap, 1.0))
        cost: F64 = np.where(possible, apart + 0.5 * ratio + 0.2 * doubt + 0.2 * gap, np.inf)
        return cost


def _inside(state: State, regions: Sequence[Box] | None) -> bool:
    """Whether the face lies wholly in one of the regions (None: the whole picture)."""
    if regions is None:
        return True
    x, y, width, height = state
    return any(
        left <= x - width / 2
        and x + width / 2 <= left + across
        and top <= y - height / 2
        and y + height / 2 <= top + down
        for left, top, across, down in regions
    )


def _covered(track: Track, time: float, boxes: F64) -> bool:
    """Whether one of the boxes (n, 4), none of them more than about thrice as large, hides the track's face."""
    x, y, width, height = track.state_at(time)
    _, inside = overlaps(np.array([[x - width / 2, y - height / 2, width, height]]), boxes)
    return bool(((inside[0] > 0.8) & (np.prod(boxes[:, 2:], axis=1) < 9 * width * height)).any())
