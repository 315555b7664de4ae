"""What is told of a face while it is in view: that it came, what changed, that it went. Pure.

An event carries times, place and treatment; never a picture, an embedding, or anything else of the person.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from anonymizer.frame import Box, Face, Frame
from anonymizer.policy import RuleSet, geometry

Zones = Callable[[Box, int, int], Sequence[str]]
"""The names of the zones that a box touches. Box in pixels; width and height of the picture in pixels."""


def zones_of(rules: RuleSet, camera: str) -> Zones:
    """The zones that the rules name on a camera."""
    polygons = {name: area.polygon for name, area in rules.zones.items() if area.on(camera)}

    def touched(box: Box, width: int, height: int) -> list[str]:
        x, y, w, h = box
        rect = x / width, y / height, (x + w) / width, (y + h) / height
        return [name for name, polygon in polygons.items() if geometry.overlaps(polygon, rect)]

    return touched


_MOVED = 0.25  # share of a box's size by which it must have moved or grown to be told again


class Kind(StrEnum):
    NEW = "new"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True)
class TrackState:
    """One face's track. start, last, end: seconds since 1970; end is None while the face is in view.

    epoch: the worker's life that the track number counts in. box: x, y, width, height in whole pixels of the picture.
    action: what the rule asked; method: what was painted.
    """

    camera: str
    epoch: str
    track: int
    start: float
    last: float
    end: float | None
    zones: tuple[str, ...]
    action: str
    method: str
    rule: str
    box: tuple[int, int, int, int]

    def to_json(self) -> dict[str, Any]:
        """Each time twice: ``start_time`` in seconds, ``start`` as text in UTC (RFC 3339)."""
        data = asdict(self)
        times = {name: data.pop(name) for name in ("start", "last", "end")}
        seconds = {f"{name}_time": None if time is None else round(time, 3) for name, time in times.items()}
        texts = {name: None if time is None else _utc(time) for name, time in times.items()}
        return {"id": f"{self.camera}-{self.epoch}-{self.track}", **data, **seconds, **texts}


@dataclass(frozen=True, slots=True)
class TrackEvent:
    """before: as last told, or None where nothing was yet."""

    kind: Kind
    before: TrackState | None
    after: TrackState

    def to_json(self) -> dict[str, Any]:
        return {
            "type": str(self.kind),
            "before": None if self.before is None else self.before.to_json(),
            "after": self.after.to_json(),
        }


@dataclass(slots=True)
class _Open:
    """A track in view. seen_at, told_at: seconds on the camera's clock."""

    state: TrackState
    told: TrackState
    seen_at: float
    told_at: float


class TrackLog:
    """Turns painted frames into events.

    zones: asked for a new track, and then at most once per interval; may be replaced at any time. interval: seconds
    between two updates of one track. gone: seconds without the face after which its track has ended. limit: tracks in
    view at a time; beyond it the one unseen for longest is told as ended.
    """

    def __init__(
        self,
        camera: str,
        epoch: str,
        *,
        zones: Zones = lambda box, width, height: (),
        interval: float = 1.0,
        gone: float = 2.0,
        limit: int = 500,
    ) -> None:
        self.camera = camera
        self.epoch = epoch
        self.zones = zones
        self._interval = interval
        self._gone = gone
        self._limit = limit
        self._open: OrderedDict[int, _Open] = OrderedDict()  # unseen for longest first
        self._time = -math.inf

    def __len__(self) -> int:
        """Tracks in view."""
        return len(self._open)

    def push(self, frame: Frame, wall: float) -> list[TrackEvent]:
        """Take note of a painted frame. wall: when it was taken, seconds since 1970."""
        events = self.flush() if frame.time < self._time else []  # the camera's clock was set back: start anew
        self._time = frame.time
        for face in frame.faces:
            if all(map(math.isfinite, face.box)):
                events += self._see(face, frame, wall)
        while self._open and next(iter(self._open.values())).seen_at < frame.time - self._gone:
            events.append(self._end_oldest())
        return events

    def flush(self) -> list[TrackEvent]:
        """Ends every track: the camera is lost, or the worker stops."""
        return [self._end_oldest() for _ in range(len(self._open))]

    def _see(self, face: Face, frame: Frame, wall: float) -> list[TrackEvent]:
        now, size = frame.time, (frame.planes.width, frame.planes.height)
        x, y, w, h = (round(v) for v in face.box)
        known = self._open.get(face.track)
        due = known is None or now - known.told_at >= self._interval
        state = TrackState(
            camera=self.camera,
            epoch=self.epoch,
            track=face.track,
            start=wall if known is None else known.state.start,
            last=wall,
            end=None,
            zones=tuple(self.zones(face.box, *size)) if due or known is None else known.state.zones,
            action=face.action,
            method=face.method,
            rule=face.rule,
            box=(x, y, w, h),
        )
        if known is None:
            events = [self._end_oldest()] if len(self._open) >= self._limit else []
            self._open[face.track] = _Open(state, state, now, now)
            return [*events, TrackEvent(Kind.NEW, None, state)]
        known.state, known.seen_at = state, now
        self._open.move_to_end(face.track)
        if not due or not _differ(known.told, state):
            return []
        before, known.told, known.told_at = known.told, state, now
        return [TrackEvent(Kind.UPDATE, before, state)]

    def _end_oldest(self) -> TrackEvent:
        _, track = self._open.popitem(last=False)
        return TrackEvent(Kind.END, track.told, replace(track.state, end=track.state.last))


def _differ(told: TrackState, now: TrackState) -> bool:
    if (told.zones, told.action, told.method, told.rule) != (now.zones, now.action, now.method, now.rule):
        return True
    (x, y, w, h), (x2, y2, w2, h2) = told.box, now.box
    across, down = _MOVED * max(w, 1), _MOVED * max(h, 1)
    moved = abs(x2 + w2 / 2 - x - w / 2) > across or abs(y2 + h2 / 2 - y - h / 2) > down
    return moved or abs(w2 - w) > across or abs(h2 - h) > down


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
