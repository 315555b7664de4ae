"""Between the worker's finder and its outlet: landmarks, decision and paint, in order, in two threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import av

from anonymizer import link
from anonymizer.events.state import CameraCounters
from anonymizer.events.tracks import TrackLog
from anonymizer.faces.finder import Ready
from anonymizer.frame import Frame
from anonymizer.link import Kind
from anonymizer.outlet import Outlet
from anonymizer.pipeline import Pipeline
from anonymizer.threads import Behind

_DEPTH = 1  # frames that may wait for a thread; then the one before it waits


class Painter:
    """While one frame is painted the landmarks of the next are being found, and the faces of the one after it: each
    alone may take as long as there is between two frames. Calls return at once unless frames wait; what a painting or
    the outlet raises, a later call raises.

    shown: the last frame that was served, or None while notices are. served: when that was, on the monotonic clock.
    covered: when, on that clock, a frame was last covered whole, and why.
    """

    def __init__(self, outlet: Outlet, tracks: TrackLog, outbox: link.Outbox, counters: CameraCounters) -> None:
        self.shown: Frame | None = None
        self.served = float("-inf")
        self.covered: tuple[float, str] = (float("-inf"), "")
        self._outlet = outlet
        self._tracks = tracks
        self._outbox = outbox
        self._counters = counters
        self._locate_seconds = self._paint_seconds = 0.0
        self._locating: Behind[Callable[[], None]] = Behind(lambda work: work(), _DEPTH)
        self._painting: Behind[Callable[[], None]] = Behind(lambda work: work(), _DEPTH)

    @property
    def seconds(self) -> float:
        """What the slower of the two threads took for its last frame."""
        return max(self._locate_seconds, self._paint_seconds)

    def frame(self, stages: Pipeline, found: Ready) -> None:
        """Serve a frame whose faces are found, anonymised."""
        self._locating.put(partial(self._locate, stages, found))

    def cover(self, frame: Frame, reason: str) -> None:
        """Serve a frame of which nothing can be known, covered whole."""
        self._later(partial(self._frame, partial(Pipeline.covered, frame, reason)))

    def notice(self, picture: av.VideoFrame, utc: float) -> None:
        """Serve a drawn picture: there is none from the camera."""
        self._later(partial(self._notice, picture, utc))

    def lost(self) -> None:
        """The camera is gone or switched off: its tracks end, and picture and sound are forgotten."""
        self._later(self._lost)

    def close(self) -> None:
        """Wait until everything has been painted and encoded."""
        self._later(self._end_tracks)
        self._locating.close()
        self._painting.close()
        self._outlet.close()

    def _later(self, work: Callable[[], None]) -> None:
        """Do it in the painting thread, after the frames that came before."""
        self._locating.put(partial(self._painting.put, work))

    def _locate(self, stages: Pipeline, found: Ready) -> None:
        began = time.monotonic()
        located = stages.locate(found)
        self._locate_seconds = time.monotonic() - began
        self._painting.put(partial(self._frame, partial(stages.finish, located)))

    def _frame(self, finish: Callable[[], Frame]) -> None:
        began = time.monotonic()
        frame = finish()
        if frame.uncertain:
            self._counters.frames_covered += 1
            self.covered = began, frame.uncertain
        for event in self._tracks.push(frame, frame.wall):
            self._outbox.put(link.encode_json(Kind.EVENT, event.to_json()))
        self._paint_seconds = time.monotonic() - began
        self._outlet.frame(frame)
        self.shown, self.served = frame, time.monotonic()

    def _notice(self, picture: av.VideoFrame, utc: float) -> None:
        self.shown = None
        self._outlet.notice(picture, utc)
        self._outlet.silence()

    def _lost(self) -> None:
        self.shown = None
        self._end_tracks()
        self._outlet.silence()

    def _end_tracks(self) -> None:
        for event in self._tracks.flush():
            self._outbox.put(link.encode_json(Kind.EVENT, event.to_json()))
