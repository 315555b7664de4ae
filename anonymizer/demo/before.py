"""The camera's own pictures as JPEG, for the demo's page: nothing else in the project shows them."""

from __future__ import annotations

import signal
import time
from multiprocessing.connection import Connection
from threading import Event

from anonymizer.access_unit import AccessUnit, AudioParameters
from anonymizer.frame import Frame
from anonymizer.ingest.camera import CameraLost, SourceSettings, keep_streaming
from anonymizer.publish.still import jpeg
from anonymizer.threads import end_with_parent

_INTERVAL = 1 / 12


class _Painter:
    def __init__(self, pictures: Connection) -> None:
        self._pictures = pictures
        self._next = 0.0

    def connected(self, audio: AudioParameters | None) -> None: ...

    def lost(self, error: CameraLost) -> None: ...

    def audio(self, unit: AccessUnit) -> None: ...

    def frame(self, frame: Frame) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self._pictures.send_bytes(jpeg(frame.planes, 75))


def main(source: SourceSettings, pictures: Connection) -> None:
    """Pull the source and send JPEGs into pictures until killed or orphaned. The target of a spawned process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    keep_streaming(source, _Painter(pictures), Event())
