"""Sharpness and noise: two bands of luma brought to the original's strength, and grain for what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anonymizer.frame import F32, U8

FINE = 0.9
"""Standard deviation in pixels of the blur that parts the high band from the middle one."""

BROAD = 0.045
"""The same between the middle band and the rest, as a share of the face's width."""


@dataclass(slots=True)
class Detail:
    """Strength of the bands: root mean squares of high and middle, and the noise's standard deviation, in grey levels."""

    high: float
    middle: float
    noise: float


def split(luma: F32, width: float) -> tuple[F32, F32, F32]:
    """float32 (h, w) luma of a face of that width → its high band, its middle band, and the rest."""
    first = cv2.GaussianBlur(luma, (5, 5), FINE)
    # Twice a box of side k is close to a Gaussian of variance (k² - 1) / 6.
    side = max(3, round(np.sqrt(6 * (BROAD * width) ** 2 + 1))) | 1
    second = cv2.blur(cv2.blur(first, (side, side)), (side, side))
    return luma - first, first - second, second


def strength(high: F32, middle: F32, inside: U8) -> Detail:
    """Strength of two bands, float32 (h, w), where the mask, uint8 of their shape, is not zero."""
    count = cv2.countNonZero(inside) + 1e-3
    rms = [(cv2.norm(band, cv2.NORM_L2SQR, inside) / count) ** 0.5 for band in (high, middle)]
    # Noise is everywhere, edges are not: the calmest quarter of the cells has noise alone. 1.2533 turns a mean
    # absolute deviation into a standard one.
    cells = cv2.resize(np.abs(high), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    calm = np.sort(cells[cv2.resize(inside, (CELLS, CELLS), interpolation=cv2.INTER_NEAREST) > 0])
    return Detail(*rms, 1.2533 * float(calm[len(calm) // 4]) if len(calm) else 0.0)


CELLS = 12

LIMITS_HIGH = (0.1, 1.6)
LIMITS_MIDDLE = (0.35, 1.5)


def match(bands: tuple[F32, F32, F32], own: Detail, wanted: Detail) -> tuple[F32, float]:
    """The bands put together again at the wanted strength: float32 luma, and how much grain it still lacks."""
    high, middle, rest = bands
    gain = min(max(wanted.high / (own.high + 0.05), LIMITS_HIGH[0]), LIMITS_HIGH[1])
    lift = min(max(wanted.middle / (own.middle + 0.05), LIMITS_MIDDLE[0]), LIMITS_MIDDLE[1])
    middle *= np.float32(lift)
    high *= np.float32(gain)
    rest += middle
    rest += high
    return rest, max(0.0, wanted.noise**2 - (gain * own.noise) ** 2) ** 0.5


class Grain:
    """Noise like a camera's after compression: white noise, a little blurred, standard deviation 1."""

    def __init__(self, side: int = 256) -> None:
        tile = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
        tile = cv2.GaussianBlur(tile, (3, 3), 0.6, borderType=cv2.BORDER_REFLECT)
        self._tile = np.tile(tile / tile.std(), (2, 2))
        self._side = side

    def __call__(self, height: int, width: int, seed: int) -> F32:
        """float32 (height, width); another part of the noise for another seed."""
        y, x = divmod(seed * 40503 % (self._side * self._side), self._side)
        if height <= self._side and width <= self._side:
            return np.asarray(self._tile[y : y + height, x : x + width])
        times = -(-(height + y) // self._side), -(-(width + x) // self._side)
        return np.asarray(np.tile(self._tile[: self._side, : self._side], times)[y : y + height, x : x + width])
