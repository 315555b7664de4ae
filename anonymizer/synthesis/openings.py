"""Openings of eyes and mouth, drawn wider or narrower than the landmarks say.

A landmark net errs towards the mean: it sees a shut eye half open and an open mouth half shut. Drawn as it says, a face
hardly blinks or speaks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anonymizer.faces import topology
from anonymizer.frame import F32

EYES, REST = 3.2, 0.27
"""By how much the opening of an eye, over its width, is drawn further from REST than the landmarks put it."""

NARROW, WIDE = 0.1, 1.6
"""Limits of what it is multiplied by."""

MOUTH, SHUT = 1.5, 0.05
"""By how much the opening of a mouth, over its width, is drawn further from SHUT; a narrower one stays."""

FALLS, DROPS = 0.7, 0.75
"""Shares of the move that are the upper eyelid's, which moves most in a blink, and the lower lip's."""

# Outlines run corner, lower edge, corner, upper edge. (eye, 7): points that face each other.
_UPPER = np.stack([topology.EYE_RIGHT[:8:-1], topology.EYE_LEFT[:8:-1]])
_LOWER = np.stack([topology.EYE_RIGHT[1:8], topology.EYE_LEFT[1:8]])
# (eye, 2 or 3): points that measure an opening.
_LIDS, _UNDER, _CORNERS = (np.stack(both) for both in zip(topology.EYELIDS_RIGHT, topology.EYELIDS_LEFT, strict=True))
_LIP_ABOVE = np.concatenate([topology.LIPS_INNER[11:], topology.LIPS_OUTER[11:]])
_LIP_BELOW = np.concatenate([topology.LIPS_INNER[1:10], topology.LIPS_OUTER[1:10]])
_ARCH = np.tile(np.sin(np.pi * np.arange(1, 10) / 10) ** 0.7, 2)[:, None].astype(np.float32)


def drawn(points: F32) -> F32:
    """float32 (n, 200, 2) points in pixels → the same with openings as they are drawn; corners and irises stay."""
    points = points.copy()
    opening = _length(points[:, _LIDS] - points[:, _UNDER]).mean(2)
    opening /= _length(points[:, _CORNERS[:, 1]] - points[:, _CORNERS[:, 0]])
    factor = np.clip((REST + EYES * (opening - REST)) / opening, NARROW, WIDE)[..., None, None]
    upper, lower = points[:, _UPPER], points[:, _LOWER]
    move = (upper - lower) * (factor - 1)
    points[:, _UPPER] = upper + FALLS * move
    points[:, _LOWER] = lower - (1 - FALLS) * move

    above, below, corners = (points[:, part] for part in topology.MOUTH)
    gap = (below - above).mean(1)
    opening = _length(gap)
    more = (MOUTH - 1) * np.maximum(1 - SHUT * _length(corners[:, 1] - corners[:, 0]) / opening, 0)
    step = (gap * more[:, None])[:, None] * _ARCH
    points[:, _LIP_ABOVE] -= (1 - DROPS) * step
    points[:, _LIP_BELOW] += DROPS * step
    return np.asarray(points, np.float32)


def _length(vectors: F32) -> NDArray[np.float32]:
    """Of vectors (..., 2), never zero."""
    return np.maximum(np.hypot(vectors[..., 0], vectors[..., 1]), np.float32(1e-3))
