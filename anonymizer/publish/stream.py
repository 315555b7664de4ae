"""One camera's coded output, or its sub-stream: access units come in and fan out to whoever subscribes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from anonymizer.access_unit import AccessUnit, AudioParameters, VideoParameters, parameter_sets, split

log = logging.getLogger(__name__)


class Sink(Protocol):
    """A consumer of access units. It must return at once and bound what it keeps."""

    def take(self, unit: AccessUnit) -> None: ...


class Stream:
    """Lives as long as the camera is configured, across restarts of its worker. Used in one thread.

    name: as users see it. audio: the sound that will come, or None. request_key: called when somebody joins and needs
    a key frame, at most once per ``key_interval`` seconds. clock: seconds, never running back.
    """

    key_interval = 0.5

    def __init__(
        self,
        name: str,
        *,
        audio: AudioParameters | None = None,
        request_key: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.audio = audio
        self.video: VideoParameters | None = None
        """None until the first key frame with its parameter sets."""
        self.units = 0
        """Access units taken in so far."""
        self._clock = clock
        self._request_key = request_key
        self._key_wanted = False
        self._key_asked_at = float("-inf")
        self._sinks: list[Sink] = []

    def publish(self, unit: AccessUnit) -> None:
        """Hands one access unit to every sink. Units of a track come in the order of their times."""
        self.units += 1
        if unit.codec.is_video:
            if unit.key:
                self._key_wanted = False
                sets = parameter_sets(unit.codec, split(unit.data))
                if sets is not None and (self.video is None or sets != self.video.sets):
                    self.video = VideoParameters(unit.codec, sets)
            elif self._key_wanted:
                self.want_key()
        for sink in tuple(self._sinks):
            try:
                sink.take(unit)
            except Exception:  # one consumer's fault must not cost the others their picture
                log.exception("stream %s: %s failed and gets no more pictures", self.name, type(sink).__name__)
                self.unsubscribe(sink)

    def want_key(self) -> None:
        """Asks the encoder for a key frame, now or as soon as the interval allows."""
        self._key_wanted = True
        now = self._clock()
        if now - self._key_asked_at >= self.key_interval:
            self._key_wanted = False
            self._key_asked_at = now
            self._request_key()

    def subscribe(self, sink: Sink) -> None:
        if sink not in self._sinks:
            self._sinks.append(sink)

    def unsubscribe(self, sink: Sink) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)
