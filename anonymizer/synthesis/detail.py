"""Sharpness and noise: two bands of luma brought to the original's strength, and grain for what is missing."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from anonymizer.frame import F32, U8
from anonymizer.synthesis.sampling import shrink

FINE = 0.9
"""Standard deviation in pixels of the blur that parts the high band from the middle one."""

BROAD = 0.045
"""The same between the middle band and the rest, as a share of the face's width."""

CELLS = 12
"""Noise is looked for in a grid of CELLS × CELLS."""

HIGH = (0.1, 1.6)
MIDDLE = (0.35, 1.4)
"""Limits of the bands' gains: beyond them something else than skin was measured."""

GRAIN = 3.0
"""More noise than this, in grey levels, is not added: in a sharp picture of a small face nothing is calm."""


class Bands(NamedTuple):
    """float32 (h, w) each: luma, without its high band, and without its middle one either."""

    luma: F32
    middle: F32
    rest: F32


def split(luma: F32, width: float) -> Bands:
    """float32 (h, w) luma of a face of that width, parted."""
    middle = cv2.GaussianBlur(luma, (5, 5), FINE)
    # Twice a box of side k is close to a Gaussian of variance (k² - 1) / 6.
    side = max(3, round(math.sqrt(6 * (BROAD * width) ** 2 + 1))) | 1
    return Bands(luma, middle, cv2.blur(cv2.blur(middle, (side, side)), (side, side)))  # type: ignore[arg-type]


def strength(bands: Bands, inside: U8) -> F32:
    """float32 (3,): root mean squares of the high and the middle band, and the noise's standard deviation.

    All in grey levels, where the mask, uint8 of the bands' shape, is not zero.
    """
    count = cv2.countNonZero(inside) + 1e-3
    high = cv2.absdiff(bands.luma, bands.middle)
    squares = cv2.norm(high, cv2.NORM_L2SQR, inside), cv2.norm(bands.middle, bands.rest, cv2.NORM_L2SQR, inside)
    # Noise is everywhere, edges are not: the calmest tenth of the cells has noise alone. 1.2533 turns a mean absolute
    # deviation into a standard one.
    cells = shrink(np.asarray(high, np.float32), (CELLS, CELLS))
    calm = np.sort(cells[cv2.resize(inside, (CELLS, CELLS), interpolation=cv2.INTER_NEAREST) > 0])
    noise = 1.2533 * float(calm[len(calm) // 10]) if len(calm) else 0.0
    return np.array([(squares[0] / count) ** 0.5, (squares[1] / count) ** 0.5, noise], np.float32)


def match(bands: Bands, own: F32, wanted: F32) -> tuple[F32, float]:
    """The bands put together again at the wanted strength: float32 luma, and how much grain it still lacks.

    own, wanted: ``strength`` of the bands and of the original's.
    """
    high, middle, noise = own.tolist()
    gain = min(max(float(wanted[0]) / (high + 0.05), HIGH[0]), HIGH[1])
    lift = min(max(float(wanted[1]) / (middle + 0.05), MIDDLE[0]), MIDDLE[1])
    fine = cv2.addWeighted(bands.luma, gain, bands.middle, lift - gain, 0)
    luma = cv2.addWeighted(fine, 1, bands.rest, 1 - lift, 0)
    return np.asarray(luma, np.float32), min(GRAIN, max(0.0, float(wanted[2]) ** 2 - (gain * noise) ** 2) ** 0.5)


class Grain:
    """Noise like a camera's after compression: white noise, a little blurred, standard deviation 1."""

    def __init__(self, side: int = 256) -> None:
        noise = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
        tile = np.asarray(cv2.GaussianBlur(noise, (3, 3), 0.6, borderType=cv2.BORDER_REFLECT), np.float32)
        self._tile = np.tile(tile / tile.std(), (2, 2))
        self._side = side

    def __call__(self, size: tuple[int, int], seed: int) -> F32:
        """float32 (h, w) for size = (w, h); another part of the noise for another seed."""
        (width, height), side = size, self._side
        y, x = divmod(seed * 40503 % (side * side), side)
        tile = self._tile
        if width > side or height > side:
            tile = np.tile(tile[:side, :side], (-(-(height + y) // side), -(-(width + x) // side)))
        return np.asarray(tile[y : y + height, x : x + width])
