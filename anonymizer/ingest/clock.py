"""One clock a camera: what its pictures' times are in UTC, and who says so."""

from __future__ import annotations

import struct
from fractions import Fraction

_PRODUCER_REFERENCE = struct.Struct("<qi")  # AVProducerReferenceTime: microseconds since 1970, flags
BELIEVABLE = 60.0
"""Seconds that a camera's clock may differ from ours before ours is taken instead."""
ASTRAY = 2.0
"""Seconds by which a picture's time may be off its arrival. Where it is off by more for longer, or jumps, the camera's
clock drifts or was set, and times are anchored anew; what comes late for less was held back by the network."""


class CameraClock:
    """Anchors stream times at the arrival of the first picture, and anew where they go astray; knows the camera's own
    clock where it tells it.

    Stream times are seconds. source: ``camera`` (RTCP sender reports), ``arrival`` (our clock), or ``arrival, the
    camera's clock is wrong``.
    """

    def __init__(self) -> None:
        self._anchor: float | None = None
        self._camera: float | None = None
        self._last = 0.0, 0.0
        self._astray_since: float | None = None
        self.source = "arrival"

    def producer_reference(self, data: bytes, pts: int | None, time_base: Fraction) -> None:
        """Note a packet's producer reference time, as libavformat attaches it after a sender report."""
        if pts is None or len(data) < _PRODUCER_REFERENCE.size:
            return
        microseconds, _ = _PRODUCER_REFERENCE.unpack_from(data)
        self._camera = microseconds / 1e6 - float(pts * time_base)

    def at(self, stream_time: float, now: float) -> tuple[float, float]:
        """(steady seconds, UTC seconds) of a picture whose stream says stream_time and that came at now.

        Steady seconds go as the stream's do, except where they are anchored anew.
        """
        last, came = self._last
        if self._anchor is None:
            self._anchor = now - stream_time
        elif abs(now - stream_time - self._anchor) <= ASTRAY:
            self._astray_since = None
        elif stream_time - last > now - came + ASTRAY or stream_time < last - ASTRAY:  # it jumped
            self._anchor, self._camera, self.source = now - stream_time, None, "arrival"
        elif self._astray_since is None:
            self._astray_since = now
        elif not 0 <= now - self._astray_since <= ASTRAY:
            self._anchor = now - stream_time
        self._last = stream_time, now
        return self.beside(stream_time, now)

    def beside(self, stream_time: float, now: float) -> tuple[float, float]:
        """As ``at``, of what comes with the pictures and sets no clock: sound. Not before the first picture."""
        assert self._anchor is not None
        steady = self._anchor + stream_time
        if self._camera is None:
            return steady, steady
        wall = self._camera + stream_time
        if abs(wall - now) > BELIEVABLE:
            self.source = "arrival, the camera's clock is wrong"
            return steady, steady
        self.source = "camera"
        return steady, wall
