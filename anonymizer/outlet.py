"""Between the worker and its link: finished pictures are encoded in a thread of their own, in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import av

from anonymizer import link
from anonymizer.access_unit import AccessUnit
from anonymizer.config import CameraSettings
from anonymizer.events.state import CameraCounters
from anonymizer.frame import Frame, Planes
from anonymizer.ingest.picture import planes_of
from anonymizer.link import AUDIO, MAIN, SUB
from anonymizer.publish.live import LiveEncoder, SubStream
from anonymizer.threads import Behind

_DEPTH = 2  # pictures that may wait for the encoder; then the worker waits


class Outlet:
    """While one picture is encoded the next is being painted. Calls return at once unless pictures wait; what an
    encoder raises, the next call raises.

    rate: pictures a second that the main stream's encoder is told to expect. latencies: seconds from the camera's
    clock to the end of encoding; served: when that was.
    """

    def __init__(self, camera: CameraSettings, outbox: link.Outbox, counters: CameraCounters) -> None:
        self.rate = 25.0
        self.latencies: deque[float] = deque(maxlen=100)
        self.served: deque[float] = deque(maxlen=200)
        self._camera = camera
        self._outbox = outbox
        self._counters = counters
        self._encoders: dict[int, LiveEncoder] = {}
        self._sub = None if camera.sub is None else SubStream(camera.sub)
        self._sounds: deque[AccessUnit] = deque(maxlen=2000)
        self._newest, self._shift = float("-inf"), 0.0
        self._behind: Behind[Callable[[], None]] = Behind(lambda work: work(), _DEPTH)

    def request_key(self, channel: int) -> None:
        """The next picture of a stream becomes a key frame."""
        if (encoder := self._encoders.get(channel)) is not None:
            encoder.request_key()

    def sound(self, unit: AccessUnit) -> None:
        """Sound, which leaves with the picture of its time, and not at all where that is covered whole."""
        self._sounds.append(unit)

    def silence(self) -> None:
        """Forget the sound that waits, once the pictures before are encoded: only their thread takes from it."""
        self._behind.put(self._sounds.clear)

    def frame(self, frame: Frame) -> None:
        """A finished frame; nobody may write to it from now on."""
        assert frame.picture is not None
        picture = frame.picture.finish()
        self._behind.put(partial(self._frame, picture, frame, silent=frame.whole))

    def notice(self, picture: av.VideoFrame, utc: float) -> None:
        """A drawn picture."""
        self._behind.put(partial(self._pictures, picture, planes_of(picture), 1.0, utc, utc))

    def close(self) -> None:
        """Wait until everything has been encoded."""
        self._behind.close()

    def _frame(self, picture: av.VideoFrame, frame: Frame, silent: bool) -> None:
        self._pictures(picture, frame.planes, frame.aspect, frame.time, frame.wall)
        while self._sounds and self._sounds[0].time <= frame.time:
            unit = self._sounds.popleft()
            if not silent:
                self._outbox.put_unit(replace(unit, time=unit.time + self._shift), AUDIO)
        now = time.time()
        latency = max(0.0, now - frame.time)
        self.latencies.append(latency)
        self.served.append(now)
        self._counters.latency.observe(latency)
        self._counters.frames_out += 1
        self._outbox.flush()

    def _pictures(self, picture: av.VideoFrame, planes: Planes, aspect: float, seconds: float, wall: float) -> None:
        # Where a camera's clock or ours was set back, what follows is shifted: encoders and recorders need times that
        # rise, at the pace of the pictures.
        self._shift = max(self._shift, self._newest + 0.001 - seconds)
        seconds = self._newest = seconds + self._shift
        if self._sub is not None and (small := self._sub.picture(planes, seconds)) is not None:
            self._encode(SUB, small, planes.full_range, aspect, seconds, wall)
        self._encode(MAIN, picture, planes.full_range, aspect, seconds, wall)

    def _encode(
        self, channel: int, picture: av.VideoFrame, full_range: bool, aspect: float, seconds: float, wall: float
    ) -> None:
        encoder = self._encoders.get(channel)
        if encoder is None or encoder.shape != (picture.width, picture.height, full_range, aspect):
            if channel == MAIN:
                rate, settings = self.rate, self._camera.encoder
            else:
                assert self._camera.sub is not None
                rate, settings = self._camera.sub.rate, self._camera.sub.encoder
            encoder = self._encoders[channel] = LiveEncoder(
                picture.width, picture.height, full_range, rate, settings, aspect
            )
        for unit in encoder.encode(picture, seconds, wall):
            if not self._outbox.put_unit(unit, channel):
                encoder.request_key()
