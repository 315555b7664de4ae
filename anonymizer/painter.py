"""Between the worker's finder and its outlet: frames are decided and painted in a thread of their own, in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import av

from anonymizer import link
from anonymizer.events.state import CameraCounters
from anonymizer.events.tracks import TrackLog
from anonymizer.frame import Frame
from anonymizer.link import Kind
from anonymizer.outlet import Outlet
from anonymizer.threads import Behind

_DEPTH = 1  # frames that may wait for the paint; then the worker waits


class Painter:
    """While one frame is painted the faces of the next are being found: a look at a whole picture takes as long as
    there is between two frames, and the paint of a crowd does too. Calls return at once unless frames wait; what a
    painting or the outlet raises, a later call raises.

    shown: the last frame that was served, or None while notices are. served: when that was, on the monotonic clock.
    faces: in it. covered: when, on that clock, a frame was last covered whole, and why. seconds: for the last frame.
    """

    def __init__(self, outlet: Outlet, tracks: TrackLog, outbox: link.Outbox, counters: CameraCounters) -> None:
        self.shown: Frame | None = None
        self.served = float("-inf")
        self.faces = 0
        self.covered: tuple[float, str] = (float("-inf"), "")
        self.seconds = 0.0
        self._outlet = outlet
        self._tracks = tracks
        self._outbox = outbox
        self._counters = counters
        self._behind: Behind[Callable[[], None]] = Behind(lambda work: work(), _DEPTH)

    def frame(self, finish: Callable[[], Frame]) -> None:
        """Serve what ``finish`` returns: a frame that is anonymised, or covered whole with the reason said in it."""
        self._behind.put(partial(self._frame, finish))

    def notice(self, picture: av.VideoFrame, utc: float) -> None:
        """Serve a drawn picture: there is none from the camera."""
        self._behind.put(partial(self._notice, picture, utc))

    def lost(self) -> None:
        """The camera is gone: its tracks end, and the sound that waits is forgotten."""
        self._behind.put(self._lost)

    def close(self) -> None:
        """Wait until everything has been painted and encoded."""
        self._behind.put(self._end_tracks)
        self._behind.close()
        self._outlet.close()

    def _frame(self, finish: Callable[[], Frame]) -> None:
        began = time.monotonic()
        frame = finish()
        if frame.uncertain:
            self._counters.frames_covered += 1
            self.covered = began, frame.uncertain
        for event in self._tracks.push(frame, frame.wall):
            self._outbox.put(link.encode_json(Kind.EVENT, event.to_json()))
        self.seconds = time.monotonic() - began
        self._outlet.frame(frame)
        self.shown, self.faces, self.served = frame, len(frame.faces), time.monotonic()

    def _notice(self, picture: av.VideoFrame, utc: float) -> None:
        self.shown, self.faces = None, 0
        self._outlet.notice(picture, utc)
        self._outlet.silence()

    def _lost(self) -> None:
        self.faces = 0
        self._end_tracks()
        self._outlet.silence()

    def _end_tracks(self) -> None:
        for event in self._tracks.flush():
            self._outbox.put(link.encode_json(Kind.EVENT, event.to_json()))
