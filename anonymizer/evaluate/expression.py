"""What landmarks say of a face: openings, gaze, and how far two of them are apart. Pure."""

from __future__ import annotations

import numpy as np

from anonymizer.evaluate.statistics import F64
from anonymizer.faces import topology
from anonymizer.frame import F32

_INNER = np.concatenate(
    [
        topology.EYE_RIGHT, topology.EYE_LEFT, topology.LIPS_OUTER, topology.BROW_RIGHT, topology.BROW_LEFT,
        topology.points(1, 2, 98, 327),
    ]
)  # fmt: skip


def mouth(landmarks: F32) -> F64:
    """float64 (n,): opening of the mouth over its width, from landmarks (n, 200, 2)."""
    return _opening(landmarks, topology.MOUTH)


def eyes(landmarks: F32) -> F64:
    """float64 (n,): opening of the eyes over their width, the mean of both."""
    return (_opening(landmarks, topology.EYELIDS_RIGHT) + _opening(landmarks, topology.EYELIDS_LEFT)) / 2


def gaze(landmarks: F32) -> F64:
    """float64 (n, 2): how far the irises lie from the middle of the eyes' corners, across and down, in eye widths, the
    mean of both eyes."""
    sides = []
    for iris, corners in (
        (topology.IRIS_RIGHT, topology.points(33, 133)),
        (topology.IRIS_LEFT, topology.points(362, 263)),
    ):
        first, last = landmarks[:, corners[0]].astype(np.float64), landmarks[:, corners[1]].astype(np.float64)
        across = last - first
        width = np.maximum(np.hypot(*across.T), 1e-6)[:, None]
        along = across / width
        off = (landmarks[:, iris] - (first + last) / 2) / width
        sides.append(np.stack([(off * along).sum(1), along[:, 0] * off[:, 1] - along[:, 1] * off[:, 0]], 1))
    return np.asarray((sides[0] + sides[1]) / 2)


def distance(a: F32, b: F32) -> F64:
    """float64 (n,): mean distance of brows, eyes, nose and lips of b from those of a, in a's eye distances."""
    centres = topology.eye_centres(a)
    unit = np.maximum(np.hypot(*(centres[:, 1] - centres[:, 0]).T), 1e-6)
    apart = np.hypot(*(a[:, _INNER] - b[:, _INNER]).transpose(2, 0, 1)).mean(1)
    return np.asarray(apart / unit, np.float64)


def _opening(landmarks: F32, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> F64:
    upper, lower, corners = pairs
    high = np.hypot(*(landmarks[:, upper] - landmarks[:, lower]).transpose(2, 0, 1)).mean(1)
    wide = np.hypot(*(landmarks[:, corners[1]] - landmarks[:, corners[0]]).T)
    return np.asarray(high / np.maximum(wide, 1e-6), np.float64)
