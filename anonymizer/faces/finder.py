"""The stage that finds the faces: frames go in, and come out in order, a look-ahead later, with their faces.

    finder = Finder(load_detector("models/face_detector.onnx"))
    for frame in source:
        for ready in finder.push(frame):
            ...  # ready.frame.faces is only to be trusted where ready.blind is empty
    for ready in finder.flush(): ...

A frame is blind when looking at it failed, or when the whole picture was not looked at within the 0.2 s before it.
Nothing is known about such a frame, and it must be covered whole or dropped. Blindness ends with the next good look at
a whole picture. The finder itself never raises what the detector raises.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.faces.detectors import Detections, Detector, joined, suppress
from anonymizer.faces.doubtful import LARGEST, Glancing
from anonymizer.faces.schedule import Plan, Rectangle, Schedule, ScheduleSettings, Wish
from anonymizer.faces.tracker import Tracker, TrackerSettings
from anonymizer.frame import F32, Box, Face, Frame, Planes

log = logging.getLogger(__name__)

CLOSER = 4 / 3
"""Size of a closer look's picture, at most, as a multiple of the look's before."""
SQUARE = 1.25
"""Pixels that are shown at most so many times as wide as high, or as high as wide, count as square: detectors do not
mind. A picture of others is looked at as it is shown."""
WIDEST = 4.0
"""What says that it is stretched further is not believed."""
OLDEST = 0.2
"""Seconds: the oldest detection that a frame may be painted from."""


@dataclass(frozen=True)
class FinderSettings:
    """lookahead: seconds a frame waits, so that a face found late is covered from its first frame; 0 for live viewing.
    waiting: most frames that wait, whatever their times say. thorough: look at every frame whole, at full size, and
    mirrored too. by_need: a look at the whole picture begins with a glance, and is followed by a closer look where it
    has shown small faces, whose word on them then counts."""

    lookahead: float = 0.5
    waiting: int = 64
    thorough: bool = False
    by_need: bool = False
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)


class Ready(NamedTuple):
    """A frame whose faces are known, or, where blind says why not, are not."""

    frame: Frame
    blind: str


class Finder:
    """The faces of one source. second: another detector, asked as well in thorough mode."""

    def __init__(
        self, detector: Detector, settings: FinderSettings | None = None, second: Detector | None = None
    ) -> None:
        self.settings = settings or FinderSettings()
        self._glancing = Glancing(detector) if self.settings.by_need else None
        self._detectors = [detector, *([second] if second and self.settings.thorough else [])]
        self._tracker = Tracker(self.settings.tracker)
        self._schedule: Schedule | None = None
        self._size = (0, 0)
        self._limit = self.settings.schedule.size
        self._waiting: deque[tuple[Frame, str]] = deque()
        self._newest = -math.inf
        self._last_good: float | None = None
        self._failure = "no frame has been looked at"

    def push(self, frame: Frame) -> list[Ready]:
        """Look at the frame; returns the frames that are ready, oldest first, none or several."""
        ready = []
        planes = _shown(frame)
        size = planes.width, planes.height
        if size != self._size or frame.time < self._newest:
            ready = self.flush()
        self._newest = frame.time
        if self._schedule is None:
            self._schedule, self._size = Schedule(*size, self.settings.schedule), size
            self._schedule.size = min(self._schedule.size, self._limit)
        self._look(frame.time, planes, self._schedule)
        known = self._last_good is not None and frame.time - self._last_good <= OLDEST + 1e-3
        self._waiting.append((frame, "" if known else self._failure))
        while self._waiting and (
            self._waiting[0][0].time <= frame.time - self.settings.lookahead + 1e-3
            or len(self._waiting) > self.settings.waiting
        ):
            ready.append(self._release())
        self._tracker.forget(self._waiting[0][0].time if self._waiting else frame.time)
        return ready

    def limit(self, size: int) -> None:
        """Let the detector see at most size pixels of the longer side from now on, whatever the settings say."""
        self._limit = size
        if self._schedule is not None:
            self._schedule.size = min(self.settings.schedule.size, size)

    def flush(self) -> list[Ready]:
        """All frames that still wait; the finder then starts afresh, with new track numbers."""
        ready = [self._release() for _ in range(len(self._waiting))]
        self._tracker.restart()
        self._schedule, self._last_good, self._newest = None, None, -math.inf
        return ready

    def _release(self) -> Ready:
        frame, blind = self._waiting.popleft()
        if not blind:
            width, height = self._size
            frame.faces = [
                _scaled(face, frame.planes.width / width, frame.planes.height / height)
                for face in self._tracker.faces(frame.time)
                if -face.box[2] < face.box[0] < width and -face.box[3] < face.box[1] < height
            ]
        return Ready(frame, blind)

    def _look(self, time: float, planes: Planes, schedule: Schedule) -> None:
        try:
            wishes = self._wishes(time)
            plan = Plan(self._size) if self.settings.thorough else schedule.plan(time, planes.y, wishes)
            if plan.whole:
                if self._glancing:
                    found = self._by_need(time, planes, schedule, self._glancing, plan.whole)
                else:
                    found = self._whole(planes, plan.whole)
                self._tracker.update(time, found)
                self._last_good = time
            elif plan.regions:
                self._tracker.update(time, *self._regions(planes, plan.regions))
        except Exception as error:  # whatever it is, the frame must come out, and as one whose faces are unknown
            failure = f"looking for faces failed: {error}"
            if failure != self._failure:
                log.warning("%s", failure)
            self._failure, self._last_good = failure, None
            schedule.retry()

    def _whole(self, planes: Planes, size: tuple[int, int]) -> Detections:
        picture = planes.bgr(size)
        scale = planes.width / size[0], planes.height / size[1]
        low = self.settings.tracker.low
        found = [detector.detect([picture], low)[0] for detector in self._detectors]
        if self.settings.thorough:
            mirror = np.asarray(cv2.flip(picture, 1), np.uint8)
            found += [d.detect([mirror], low)[0].mirrored(size[0]) for d in self._detectors]
        return suppress(joined(found)).mapped(scale)

    def _by_need(
        self, time: float, planes: Planes, schedule: Schedule, glancing: Glancing, size: tuple[int, int]
    ) -> Detections:
        """A glance at the whole picture, a look, and a closer look, each where the one before gives reason to."""
        low = self.settings.tracker.low
        scale = self._size[0] / size[0], self._size[1] / size[1]
        found = glancing.detect(planes, size, low).mapped(scale)
        if size[0] >= self._size[0]:
            return found
        largest = LARGEST * scale[0]
        small = [
            track.state_at(time)
            for track in sorted(self._tracker.tracks, key=lambda track: -track.seen)
            if track.seen > 1 and time - track.last <= self.settings.tracker.hold and track.end[3] <= largest
        ]
        if not small:
            return found
        share = min(1.0, CLOSER * size[0] / self._size[0])
        width, height = (max(1, round(side * share)) for side in self._size)
        (near,) = self._detectors[0].detect([planes.bgr((width, height))], low)
        near = near.mapped((self._size[0] / width, self._size[1] / height))
        regions, sure = schedule.around(small), self.settings.tracker.start
        return suppress(
            joined(
                [
                    found.take(~_within(found.boxes, regions) | (found.scores >= sure)),
                    near.take(_within(near.boxes, regions) | (near.scores >= sure)),
                ]
            )
        )

    def _regions(self, planes: Planes, regions: tuple[Rectangle, ...]) -> tuple[Detections, list[Box]]:
        cell = self.settings.schedule.cell
        pictures = [planes.region(*r).bgr((cell, cell)) for r in regions]
        found = []
        for region, seen in zip(regions, self._detectors[0].detect(pictures, self.settings.tracker.low), strict=True):
            x0, y0, x1, y1 = region
            mapped = seen.mapped(((x1 - x0) / cell, (y1 - y0) / cell), (x0, y0))
            # A face cut by the region's edge has a wrong box; at the picture's own edge it is as whole as it gets.
            low, high = mapped.boxes[:, :2], mapped.boxes[:, :2] + mapped.boxes[:, 2:]
            whole = (
                ((low[:, 0] > x0 + 1) | (x0 == 0))
                & ((low[:, 1] > y0 + 1) | (y0 == 0))
                & ((high[:, 0] < x1 - 1) | (x1 >= planes.width - 1))
                & ((high[:, 1] < y1 - 1) | (y1 >= planes.height - 1))
            )
            found.append(mapped.take(whole))
        return suppress(joined(found)), [(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in regions]

    def _wishes(self, time: float) -> list[Wish]:
        """Tracks that are small in the reduced picture, weak or missed ask for a closer look."""
        scale = min(1.0, self._schedule.size / max(self._size)) if self._schedule else 1.0
        wishes = []
        for track in self._tracker.tracks:
            state = track.state_at(time)
            urgency = 2.0 * min(track.misses, 2) + (1 - track.sightings[-1].score) + (track.seen == 1)
            small = math.sqrt(state[2] * state[3]) * scale < 16
            if time - track.last <= self.settings.tracker.hold and (urgency > 0.5 or small):
                wishes.append(Wish(state, urgency + small))
        return wishes


def _shown(frame: Frame) -> Planes:
    """The frame's picture with pixels that are square when it is shown; the picture itself where they nearly are."""
    planes, aspect = frame.planes, min(max(frame.aspect, 1 / WIDEST), WIDEST)
    if 1 / SQUARE <= aspect <= SQUARE:
        return planes
    width, height = planes.width * max(1.0, aspect), planes.height * max(1.0, 1 / aspect)
    return planes.scaled(round(width / 2) * 2, round(height / 2) * 2)


def _scaled(face: Face, across: float, down: float) -> Face:
    """The face, with its places multiplied, in place."""
    if (across, down) != (1.0, 1.0):
        (x, y, w, h), seen = face.box, face.seen
        face.box = x * across, y * down, w * across, h * down
        if seen is not None:
            face.seen = seen[0] * across, seen[1] * down, seen[2] * across, seen[3] * down
        if face.points is not None:
            face.points = np.asarray(face.points * (across, down), np.float32)
    return face


def _within(boxes: F32, regions: Sequence[Rectangle]) -> NDArray[np.bool_]:
    """Which boxes (n, 4) lie wholly in one of the regions: bool (n,)."""
    low, high = boxes[:, None, :2], boxes[:, None, :2] + boxes[:, None, 2:]
    squares = np.array(regions, np.float32)
    inside: NDArray[np.bool_] = np.all((low > squares[:, :2] + 1) & (high < squares[:, 2:] - 1), axis=2)
    in_any: NDArray[np.bool_] = np.any(inside, axis=1)
    return in_any
