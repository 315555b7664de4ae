"""Light and skin tone of the original, from a few dozen samples of its low frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anonymizer.frame import F32, Planes
from anonymizer.synthesis.rig import Rig

CELLS = 14
"""Samples are means over squares of a CELLS-th of the face."""

CALM = 8.0
"""Chroma's slope is penalised so many times more than the gain's."""

DARK = 10.0
"""Grey levels added to both sides of the gain, so that shadows divide by no small number."""


@dataclass(slots=True)
class Light:
    """What is taken from an original face.

    gain: float32 (k,), logarithm of the luminance gain in the basis of ``rig.basis``. chroma: float32 (3, 2), Cb and Cr
    less 128 of the skin in that basis' first three functions: a mean and a slope.
    """

    gain: F32
    chroma: F32


def low_pass(planes: Planes, side: float) -> tuple[F32, F32, F32]:
    """Small float32 pictures of luma and both chroma planes, in cells of side / CELLS pixels, and (2,) pixels a cell."""
    cell = max(1.0, side / CELLS)
    width, height = max(2, round(planes.width / cell)), max(2, round(planes.height / cell))
    size = (width, height)
    luma = cv2.resize(planes.y, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA).astype(np.float32) for p in (planes.u, planes.v)]
    chroma = cv2.merge(small)
    return luma, chroma, np.array([planes.width / width, planes.height / height], np.float32)


def sample(picture: F32, cell: F32, places: F32) -> F32:
    """The picture at places float32 (m, 2) in pixels of the crop: float32 (m,) or (m, 2)."""
    at = (places / cell - 0.5).astype(np.float32)[:, None]
    return np.asarray(cv2.remap(picture, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0], np.float32)


def measure(rig: Rig, crop: Planes, nodes: F32, side: float, texture: F32, floor: float) -> Light:
    """Fit the light of a face.

    nodes: float32 (m, 2), ``rig.nodes`` in pixels of the crop. side: the face's in pixels. texture: float32 (m,), low
    frequencies of the texture's luma there. floor: black of the luma range. Samples that do not go with the others,
    such as hair or a hand, lose their weight (iteratively reweighted least squares, Cauchy's weight).
    """
    luma, chroma, cell = low_pass(crop, side)
    target = np.log(np.maximum(sample(luma, cell, nodes) - floor, 0) + DARK)
    wanted = target - np.log(np.maximum(texture - floor, 0) + DARK)
    tone = sample(chroma, cell, nodes) - 128
    centre = np.median(tone, axis=0)
    away = np.square(tone - centre).sum(1)
    trust = 1 / (1 + away / max(4.0, 2 * float(np.median(away))))
    gain = _fit(rig.node_basis, wanted, trust, rig.penalty)
    for _ in range(2):
        rest = np.square(wanted - rig.node_basis @ gain)
        weight = trust / (1 + rest / max(0.0025, 2 * float(np.median(rest))))
        gain = _fit(rig.node_basis, wanted, weight, rig.penalty)
    few = rig.node_basis[:, :3]
    slope = _fit(few, tone - centre, weight, CALM * rig.penalty[:3])
    slope[0] += centre
    return Light(gain, slope)


def _fit(basis: F32, values: F32, weight: F32, penalty: F32) -> F32:
    """Weighted least squares with a penalty on each coefficient."""
    left = basis.T * weight
    return np.asarray(np.linalg.solve(left @ basis + np.diag(penalty), left @ values), np.float32)
