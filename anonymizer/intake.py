"""Between a camera's reading thread and the worker: a short queue that forgets the oldest."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Condition

from anonymizer.access_unit import AccessUnit, AudioParameters
from anonymizer.frame import Frame
from anonymizer.ingest.camera import CameraLost


@dataclass(frozen=True, slots=True)
class Connected:
    """Pictures come. audio: the sound that comes with them, or None."""

    audio: AudioParameters | None


_MOST = 1000  # items in all: sound without pictures must not pile up

Item = Frame | AccessUnit | Connected | CameraLost


class Intake:
    """A ``camera.Receiver`` for one thread, and ``take`` for another.

    limit: frames that may wait; beyond it the oldest is dropped and counted, for its pictures would only come late.
    Nothing is ever passed by: what is dropped here was never shown.
    """

    def __init__(self, limit: int = 4) -> None:
        self._limit = limit
        self._items: deque[Item] = deque()
        self._frames = 0
        self._changed = Condition()
        self.received = 0
        self.dropped = 0

    def connected(self, audio: AudioParameters | None) -> None:
        self._put(Connected(audio))

    def lost(self, error: CameraLost) -> None:
        self._put(error)

    def audio(self, unit: AccessUnit) -> None:
        self._put(unit)

    def frame(self, frame: Frame) -> None:
        with self._changed:
            self.received += 1
            self._frames += 1
            self._items.append(frame)
            if self._frames > self._limit:
                oldest = next(item for item in self._items if isinstance(item, Frame))
                self._remove(oldest)
                self._frames -= 1
                self.dropped += 1
            self._changed.notify()

    def _put(self, item: Item) -> None:
        with self._changed:
            self._items.append(item)
            if len(self._items) > _MOST:
                gone = self._items.popleft()
                self._frames -= isinstance(gone, Frame)
            self._changed.notify()

    def _remove(self, frame: Frame) -> None:
        """By identity: comparing frames would compare their pixels."""
        index = next(i for i, item in enumerate(self._items) if item is frame)
        del self._items[index]

    def take(self, timeout: float) -> Item | None:
        """The oldest item; None when none came within timeout seconds."""
        with self._changed:
            if not self._items:
                self._changed.wait(timeout)
            if not self._items:
                return None
            item = self._items.popleft()
            self._frames -= isinstance(item, Frame)
            return item
