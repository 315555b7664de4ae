"""What a person corrects: boxes over faces that were missed, and tracks that are no third person's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anonymizer.errors import ConfigError
from anonymizer.frame import Box


@dataclass(frozen=True, slots=True)
class Mark:
    """what: ``cover`` (a face that was missed) or ``release`` (of a track: it is no third person's face). start, stop:
    UTC seconds. boxes: (UTC, box) by hand; between two of them the box moves along a line, else it stays. track:
    number, for ``release``."""

    what: str
    start: float
    stop: float
    track: int = 0
    boxes: tuple[tuple[float, Box], ...] = ()

    def box(self, wall: float) -> Box | None:
        """Where to cover at a time."""
        if self.what != "cover" or not self.start <= wall <= self.stop:
            return None
        times = [time for time, _ in self.boxes]
        x, y, w, h = (float(np.interp(wall, times, [box[i] for _, box in self.boxes])) for i in range(4))
        return x, y, w, h

    @classmethod
    def parse(cls, data: Any) -> Mark:
        """From JSON data. ConfigError for what is no mark."""
        try:
            boxes = tuple(sorted((float(at), _box(box)) for at, box in data.get("boxes", ())))
            mark = cls(str(data["what"]), float(data["start"]), float(data["stop"]), int(data.get("track", 0)), boxes)
            good = mark.what == "release" or (mark.what == "cover" and boxes)
            if not good or not mark.start <= mark.stop:
                raise ValueError("a mark covers boxes over a time, or releases a track")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"this is no correction: {error}") from error
        return mark


def _box(values: Any) -> Box:
    x, y, w, h = (float(value) for value in values)
    if not (w > 0 and h > 0 and all(abs(value) < 1e5 for value in (x, y, w, h))):
        raise ValueError("a box needs a place, width and height in pixels")
    return x, y, w, h
