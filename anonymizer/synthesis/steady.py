"""What is drawn over a face stands as still on the head as the head's own pixels: each drawing is mixed with the last
one, carried along by the picture's motion.

Landmarks tremble, and light is measured anew in every frame; both make a drawn face simmer. No pixel of the original is
mixed in, only drawings of the same identity over the same track.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from anonymizer.frame import U8, Motion
from anonymizer.synthesis.memory import Key

SETTLE = 0.06
"""Seconds after which 37 % are left of a drawing, where the motion is to be trusted."""

GAP = 0.5
"""Seconds after which a drawing is forgotten."""


@dataclass(frozen=True, slots=True)
class _Shown:
    luma: U8
    x0: int
    y0: int
    time: float


class Steady:
    """Remembers the last drawing of each track."""

    def __init__(self) -> None:
        self._shown: dict[Key, _Shown] = {}

    def __len__(self) -> int:
        return len(self._shown)

    def forget(self, time: float) -> None:
        """What was drawn more than GAP seconds before or after a time."""
        self._shown = {key: shown for key, shown in self._shown.items() if abs(time - shown.time) <= GAP}

    def __call__(self, key: Key, luma: U8, corner: tuple[int, int], motion: Motion | None, time: float) -> None:
        """Mix the last drawing into a new one, in place, and remember the result.

        luma: uint8 (h, w), whose first pixel is the picture's at corner = (x, y); it must not be changed afterwards.
        motion: since the last drawing; where it is since another time, or None, the new drawing stays as it is.
        """
        last = self._shown.get(key)
        if last is not None and motion is not None and last.time == motion.since:
            _mix(luma, corner, last, motion, math.exp((last.time - time) / SETTLE))
        self._shown[key] = _Shown(luma, *corner, time)


def _mix(luma: U8, corner: tuple[int, int], last: _Shown, motion: Motion, kept: float) -> None:
    (x, y), (x0, y0, x1, y1) = corner, motion.rectangle
    left, top, right, bottom = max(x, x0), max(y, y0), min(x + luma.shape[1], x1), min(y + luma.shape[0], y1)
    if right <= left or bottom <= top:
        return
    # Between pixels of both rectangles, whose middles are whole numbers.
    (a, b, c), (d, e, f) = motion.back.tolist()
    px, py = left + 0.5, top + 0.5
    back = np.array([[a, b, a * px + b * py + c - last.x0 - 0.5], [d, e, d * px + e * py + f - last.y0 - 0.5]])
    new = luma[top - y : bottom - y, left - x : right - x]
    carried = new.copy()
    # Where the last drawing did not reach, the new one stays.
    cv2.warpAffine(
        last.luma, back, (right - left, bottom - top), dst=carried, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_TRANSPARENT,
    )  # fmt: skip
    trust = cv2.resize(motion.trust * np.float32(kept), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    share = trust[top - y0 : bottom - y0, left - x0 : right - x0]
    new[:] = cv2.blendLinear(carried, new, share, 1 - share)
