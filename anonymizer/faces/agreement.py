"""Whether the detector's five points and the landmark net's two hundred speak of the same face.

The net sees a frontal face in many a profile, and is sure of it. A detector's points are coarse, but say so.
"""

from __future__ import annotations

import math

from anonymizer.faces import topology
from anonymizer.frame import F32, extent

BESIDE = (0.17, 0.26)
"""The landmarks lie beside the five points by at most this, in face heights, on average; the second one holds for faces
that were believed just before, so that they do not change from picture to picture."""

BREADTH = (0.5, 0.4)
"""A face is at least so broad (``breadth_of``), or seen from the side."""


def doubt(landmarks: F32, points: F32, believed: bool) -> str:
    """Why a face cannot be drawn along its landmarks, float32 (200, 2), or "". points: float32 (5, 2), the detector's.

    believed: whether it was drawn just before.
    """
    apart = [math.hypot(x, y) for x, y in (topology.five_points(landmarks[None])[0] - points).tolist()]
    if not sum(apart) / len(apart) <= BESIDE[believed] * extent(landmarks)[3]:
        return "landmarks beside the detector's points"
    return "" if breadth_of(points) >= BREADTH[believed] else "seen from the side"


def breadth_of(points: F32) -> float:
    """How far the eyes of five points, float32 (5, 2), lie apart, over the distance from eyes to mouth.

    Measured across that line, so a roll changes nothing. About 1 from the front, 0.7 half turned, under 0.4 in profile.
    """
    across_x, across_y, down_x, down_y = topology.lines_of(points)
    return abs(across_x * down_y - across_y * down_x) / max(down_x * down_x + down_y * down_y, 1e-6)
