"""What to give up, and in which order, when frames come faster than they can be worked on."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """From nothing given up to everything but privacy."""

    FULL = 0
    SMALL_DETECTOR = 1
    NO_REPLACEMENT = 2
    HALF_RATE = 3
    COVERED = 4

    @property
    def meaning(self) -> str:
        """For the camera's state; empty where nothing is given up."""
        return _MEANINGS[self]


_MEANINGS = (
    "",
    "overloaded: smaller detector input",
    "overloaded: faces are covered instead of replaced",
    "overloaded: every second frame",
    "overloaded: covered whole",
)


class Load:
    """Watches how long frames take and says what to give up. Times are seconds and come as arguments.

    The next level is taken when for a second the work took more than ``high`` of the time there was, or frames had to
    be dropped. It is left after ``patience`` seconds in which the work took less than ``low``, the last level after a
    third of that, since nobody sees anything in it; a level that has to be taken again soon after it was left is then
    kept twice as long, so that the picture does not flap.
    """

    def __init__(self, high: float = 0.95, low: float = 0.6, patience: float = 10.0, longest: float = 300.0) -> None:
        self.level = Level.FULL
        self._high, self._low = high, low
        self._first, self._patience, self._longest = patience, patience, longest
        self._share = 0.0
        self._busy_since: float | None = None
        self._idle_since: float | None = None
        self._left_at = float("-inf")

    def note(self, now: float, worked: float, interval: float, dropped: bool) -> Level:
        """A frame took ``worked`` seconds; the next one comes ``interval`` after it. dropped: some had no room."""
        if interval > 0:
            self._share += 0.1 * (worked / interval - self._share)
        if dropped or self._share > self._high:
            self._idle_since = None
            if self._busy_since is None:
                self._busy_since = now
            elif now - self._busy_since >= 1.0 and self.level < Level.COVERED:
                self._climb(now)
        elif self._share < self._low:
            self._busy_since = None
            if self._idle_since is None:
                self._idle_since = now
            elif now - self._idle_since >= self._wait() and self.level > Level.FULL:
                self.level = Level(self.level - 1)
                self._left_at, self._idle_since = now, now
        else:
            self._busy_since = self._idle_since = None
        return self.level

    def _wait(self) -> float:
        return self._patience / 3 if self.level is Level.COVERED else self._patience

    def _climb(self, now: float) -> None:
        again = now - self._left_at < 2 * self._patience
        self._patience = min(self._longest, 2 * self._patience) if again else self._first
        self.level = Level(self.level + 1)
        self._busy_since = now
        self._share = (self._high + self._low) / 2  # what the new level brings is not known yet
