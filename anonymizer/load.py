"""What to give up, and in which order, when frames come faster than they can be worked on."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """From nothing given up to everything but privacy."""

    FULL = 0
    SMALL_DETECTOR = 1
    HALF_RATE = 2
    COVERED = 3

    @property
    def meaning(self) -> str:
        """For the camera's state; empty where nothing is given up."""
        return (
            "",
            "overloaded: smaller detector input",
            "overloaded: every second frame",
            "overloaded: covered whole",
        )[self]


class Load:
    """Watches how long frames take and says what to give up. Times are seconds and come as arguments.

    A level is taken when for a second the work took more than ``high`` of the time there was, or frames had to be
    dropped; it is left when for ten seconds the work would have taken less than ``low``.
    """

    def __init__(self, high: float = 0.95, low: float = 0.55) -> None:
        self.level = Level.FULL
        self._high = high
        self._low = low
        self._share = 0.0
        self._busy_since: float | None = None
        self._idle_since: float | None = None

    def note(self, now: float, worked: float, interval: float, dropped: bool) -> Level:
        """A frame took ``worked`` seconds, and frames come every ``interval``. dropped: some had no room."""
        if interval > 0:
            self._share += 0.1 * (worked / interval - self._share)
        if dropped or self._share > self._high:
            self._idle_since = None
            self._busy_since = now if self._busy_since is None else self._busy_since
            if now - self._busy_since >= 1.0 and self.level < Level.COVERED:
                self.level = Level(self.level + 1)
                self._busy_since = now
                self._share = 0.8
        elif self._share < self._low:
            self._busy_since = None
            self._idle_since = now if self._idle_since is None else self._idle_since
            if now - self._idle_since >= 10.0 and self.level > Level.FULL:
                self.level = Level(self.level - 1)
                self._idle_since = now
        else:
            self._busy_since = self._idle_since = None
        return self.level
