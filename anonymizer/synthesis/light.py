"""Light and skin tone of the originals, from a few dozen samples of their low frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anonymizer.frame import F32, Planes
from anonymizer.synthesis.rig import Rig
from anonymizer.synthesis.sampling import look_up, shrink

CELLS = 14
"""Samples are means over squares of a CELLS-th of the face."""

CALM = 8.0
"""Chroma's slope is penalised so many times more than the gain's."""

DARK = 10.0
"""Grey levels added to both sides of the gain, so that shadows divide by no small number."""

ROUNDS = 2
"""Of reweighting. Samples that do not go with the others, hair or a hand, lose their weight."""


@dataclass(slots=True)
class Light:
    """What is taken from the originals of n faces.

    gain: float32 (n, k), logarithm of the luminance gain in ``cosines.basis``. chroma: float32 (n, 3, 2), Cb
    and Cr less 128 of the skin in that basis' first three functions: a mean and a slope.
    """

    gain: F32
    chroma: F32


def samples(crop: Planes, places: F32, side: float) -> F32:
    """float32 (m, 3): means of Y, Cb, Cr around places float32 (m, 2), pixels of the crop; side: the face's."""
    cell = max(1.0, side / CELLS)
    size = max(2, round(crop.width / cell)), max(2, round(crop.height / cell))
    half = shrink(crop.y, (crop.u.shape[1], crop.u.shape[0]))
    small = shrink(np.asarray(cv2.merge((half, crop.u, crop.v)), np.uint8), size).astype(np.float32)
    scale = np.array([size[0] / crop.width, size[1] / crop.height], np.float32)
    return np.asarray(look_up(small, places[None] * scale - np.float32(0.5))[0])


def measure(rig: Rig, seen: F32, textures: F32, floors: Sequence[float]) -> Light:
    """Fit the light of n faces.

    seen: float32 (n, m, 3), ``samples`` at ``rig.nodes``. textures: float32 (n, m), the identities' luma there, less
    black. floors: black of each face's luma range. Iteratively reweighted least squares with Cauchy's weight.
    """
    floor = np.array(floors, np.float32)[:, None]
    wanted = np.log(np.maximum(seen[..., 0] - floor, 0) + DARK) - np.log(textures + DARK)
    tone = seen[..., 1:] - 128
    centre = median(tone, 1)
    away = np.square(tone - centre).sum(2)
    trust = 1 / (1 + away / np.maximum(4, 2 * median(away, 1)))
    weight = trust
    for last in range(ROUNDS - 1, -1, -1):
        gain = _fit(rig.node_basis, wanted[..., None], weight, rig.penalty)
        if last:
            rest = np.square(wanted - (rig.node_basis @ gain)[..., 0])
            weight = trust / (1 + rest / np.maximum(0.0025, 2 * median(rest, 1)))
    slope = _fit(rig.node_basis[:, :3], tone - centre, weight, CALM * rig.penalty[:3])
    slope[:, 0] += centre[:, 0]
    return Light(gain[..., 0], slope)


def _fit(basis: F32, values: F32, weight: F32, penalty: F32) -> F32:
    """Weighted least squares with a penalty on each coefficient: (n, m, c) values → (n, k, c)."""
    left = basis.T * weight[:, None]
    return np.asarray(np.linalg.solve(left @ basis + np.diag(penalty), left @ values), np.float32)


def median(values: F32, axis: int) -> F32:
    """The upper median, much cheaper than NumPy's for few values; the axis stays."""
    middle = values.shape[axis] // 2
    return np.asarray(np.take(np.sort(values, axis), [middle], axis), np.float32)
