"""Laying a drawing over the picture."""

from __future__ import annotations

import cv2
import numpy as np

from anonymizer.frame import U8, Planes
from anonymizer.synthesis.swapper import Drawing


def lay(drawing: Drawing, region: Planes) -> None:
    """Mix a drawing into the region of the picture it was made for, in place."""
    share = drawing.weight.astype(np.float32) / 255
    _mix(region.y, drawing.planes.y, share)
    half = cv2.resize(share, region.u.shape[::-1], interpolation=cv2.INTER_AREA)
    _mix(region.u, drawing.planes.u, half)
    _mix(region.v, drawing.planes.v, half)


def _mix(below: U8, above: U8, share: np.ndarray) -> None:
    below[:] = cv2.blendLinear(above, below, share, 1 - share)
