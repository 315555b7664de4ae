"""Presentation times that an encoder accepts, from those that files and cameras give."""

from __future__ import annotations


class Timeline:
    """Turns the times of decoded pictures into strictly increasing ones, leaving them alone where they already are.

    Times are integers in one time base. step is the nominal distance of two pictures, second the ticks of a second.
    Pictures come in presentation order, so a time that does not increase is wrong: one that is a little late is put
    half a step after its predecessor (a whole step would push all that follow), a jump back by more than a second
    (pasted recordings, a camera's restart) goes on where the last picture ended; offset is what is added from then on.
    """

    def __init__(self, step: int, second: int) -> None:
        self._step = max(1, step)
        self._second = max(1, second)
        self.offset = 0
        self._last: int | None = None

    def stamp(self, pts: int | None) -> int:
        """The time at which to show a picture whose stream says pts; None means that it says nothing."""
        if self._last is None:
            time = 0 if pts is None else pts
        elif pts is None:
            time = self._last + self._step
        else:
            time = pts + self.offset
            if time <= self._last - self._second:
                self.offset = self._last + self._step - pts
                time = self._last + self._step
            elif time <= self._last:
                time = self._last + max(1, self._step // 2)
        self._last = time
        return time
