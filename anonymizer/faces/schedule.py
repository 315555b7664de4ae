"""Which frames are looked at, where, and how closely.

The whole picture is looked at on a schedule, at a reduced size. The frames between get a few regions at full
resolution instead: around tracks that are small or in doubt, where something moved, and, in turn, everywhere else.
Pure: times and pictures come in as arguments. Times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anonymizer.faces.track import State
from anonymizer.frame import U8

SLOW = 0.07
"""Where pictures are more than so many seconds apart, each in which something moves is looked at whole: between two a
face goes far, and there is time."""

Rectangle = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the picture."""


@dataclass(frozen=True)
class ScheduleSettings:
    """interval: most seconds between two looks at the whole picture while something moves; still: while nothing does.
    Neither may exceed 0.2, the oldest detection that a frame may be painted from.

    size: longer side of the reduced picture in pixels; a smaller picture is looked at as it is.
    first_size: the same for the first look at a source, which may be a single photograph.
    regions: most regions looked at in a frame between, 0 for none. cell: their side in the network's pixels.
    cut: share of the picture that changes at once, above what its noise always changes, when a camera turns or light is
    switched: then everything that was known is in doubt, and the whole picture is looked at.
    """

    interval: float = 0.16
    still: float = 0.2
    size: int = 960
    first_size: int = 1920
    regions: int = 2
    cell: int = 160
    cut: float = 0.3


@dataclass(frozen=True)
class Plan:
    """whole: (width, height) at which the whole picture is to be looked at, or None. regions: to be looked at."""

    whole: tuple[int, int] | None
    regions: tuple[Rectangle, ...] = ()


@dataclass(frozen=True)
class Wish:
    """A face that asks for a closer look. The highest urgency comes first."""

    state: State
    urgency: float


class Schedule:
    """The plan for one source, frame by frame."""

    def __init__(self, width: int, height: int, settings: ScheduleSettings | None = None) -> None:
        self.settings = settings or ScheduleSettings()
        self.size = self.settings.size
        self._width, self._height = width, height
        self._last_whole: float | None = None
        self._last_time: float | None = None
        self._thumbnail: U8 | None = None
        self._usual = 0.0
        # The picture in cells of about 128 px, a fifth less than a region, so that a small face is whole in one.
        self._grid = max(1, round(height / 128)), max(1, round(width / 128))
        self._moved = np.zeros(self._grid)
        self._looked = np.zeros(self._grid)

    def plan(self, time: float, luma: U8, wishes: Sequence[Wish]) -> Plan:
        """What to look at in the frame at ``time``, given its luma plane, uint8 (height, width)."""
        s = self.settings
        step = time - self._last_time if self._last_time is not None else 0.0
        self._last_time = time
        if not s.interval and not s.still:
            return self._whole(time, self.size)
        changed = self._watch(luma)
        if self._last_whole is None:
            return self._whole(time, s.first_size if self.size == s.size else self.size)
        moving = self._moved.max() > 0.02
        interval = s.still if not moving else s.interval if step <= SLOW else 0.0
        if changed > s.cut or time + step - self._last_whole > interval + 1e-3:
            return self._whole(time, self.size)
        return Plan(None, self._regions(time, wishes))

    def around(self, states: Sequence[State]) -> list[Rectangle]:
        """Squares that hold each of these faces with something around it, the first one's first."""
        squares: list[Rectangle] = []
        for x, y, width, height in states:
            if not any(
                x0 <= x - width and x + width <= x1 and y0 <= y - height and y + height <= y1
                for x0, y0, x1, y1 in squares
            ):
                squares.append(self._around(x, y, width, height))
        return squares

    def retry(self) -> None:
        """The last look failed: the next frame is looked at whole."""
        self._last_whole = -math.inf

    def _whole(self, time: float, longest: int) -> Plan:
        self._last_whole = time
        scale = min(1.0, longest / max(self._width, self._height))
        return Plan((max(1, round(self._width * scale)), max(1, round(self._height * scale))))

    def _watch(self, luma: U8) -> float:
        """Note what moved since the frame before: the share of each cell's samples that changed adds up. Returns by how
        much that of the whole picture is above its mean of late."""
        more = 0.0
        size = max(1, self._width // 8), max(1, self._height // 8)
        thumbnail = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        if self._thumbnail is not None:
            changed = (cv2.absdiff(thumbnail, self._thumbnail) > 14).astype(np.float32)
            more = float(changed.mean()) - self._usual
            self._usual += 0.1 * more
            self._moved = 0.9 * self._moved + cv2.resize(changed, self._grid[::-1], interpolation=cv2.INTER_AREA)
        self._thumbnail = thumbnail
        return more

    def _regions(self, time: float, wishes: Sequence[Wish]) -> tuple[Rectangle, ...]:
        s = self.settings
        ranked = sorted(wishes, key=lambda w: -w.urgency)[: max(0, s.regions - 1)]
        regions = [self._around(*wish.state) for wish in ranked]
        if self.size < 0.9 * max(self._width, self._height):
            urgency = 4 * self._moved + (time - self._looked) / 4
            for cell in np.argsort(-urgency, axis=None)[: s.regions - len(regions)]:
                row, column = divmod(int(cell), self._grid[1])
                self._moved[row, column], self._looked[row, column] = 0, time
                x, y = (column + 0.5) * self._width / self._grid[1], (row + 0.5) * self._height / self._grid[0]
                regions.append(self._square(x, y, s.cell))
        return tuple(dict.fromkeys(regions))

    def _around(self, x: float, y: float, width: float, height: float) -> Rectangle:
        """A square in which the face is about 36 network pixels large, or smaller: pixels are never invented."""
        return self._square(x, y, self.settings.cell * max(1.0, math.sqrt(width * height) / 36))

    def _square(self, x: float, y: float, side: float) -> Rectangle:
        """The square of that side around (x, y), moved into the picture, on even pixels."""
        side = int(min(side, self._width, self._height)) & ~1
        x0 = int(np.clip(x - side / 2, 0, self._width - side)) & ~1
        y0 = int(np.clip(y - side / 2, 0, self._height - side)) & ~1
        return x0, y0, x0 + side, y0 + side
