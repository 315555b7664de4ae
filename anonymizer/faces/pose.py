"""Which way a head is turned, from its 200 points and their depth.

A rigid mean face is laid over the points by Procrustes analysis: the rotation that, with the best scale and shift,
leaves the least squared distance (Kabsch 1976, Umeyama 1991). With the net's depth this is the scaled-orthographic
camera's solution in closed form.
"""

from __future__ import annotations

import numpy as np

from anonymizer.faces import topology
from anonymizer.frame import F32

# Points that neither expression nor jaw moves much; x to the picture's right, y down, z away from the camera, in eye
# distances. The symmetric mean of the labels that the landmark net learns from; its pitch is that of an average
# portrait. models/training/landmarks/shape.py prints it.
_MIDLINE = {
    10: (0.000, -0.874, -0.160),
    151: (0.000, -0.620, -0.212),
    9: (0.000, -0.359, -0.246),
    8: (0.000, -0.224, -0.222),
    168: (0.000, -0.106, -0.213),
    6: (0.000, 0.020, -0.278),
    197: (0.000, 0.133, -0.353),
    195: (0.000, 0.238, -0.434),
    5: (0.000, 0.349, -0.518),
    4: (0.000, 0.482, -0.553),
    1: (0.000, 0.583, -0.519),
    19: (0.000, 0.633, -0.469),
    94: (0.000, 0.651, -0.346),
    2: (0.000, 0.678, -0.278),
}
_RIGHT = {
    33: (-0.710, -0.045, 0.129),
    133: (-0.276, -0.018, 0.044),
    127: (-1.067, -0.010, 0.893),
    162: (-1.058, -0.240, 0.731),
    234: (-1.050, 0.209, 0.969),
    54: (-0.926, -0.597, 0.337),
    103: (-0.778, -0.733, 0.138),
    67: (-0.549, -0.824, -0.035),
    50: (-0.744, 0.464, 0.049),
    101: (-0.529, 0.353, -0.031),
    117: (-0.811, 0.218, 0.137),
    118: (-0.691, 0.258, 0.050),
    122: (-0.091, 0.045, -0.240),
    196: (-0.087, 0.154, -0.330),
    129: (-0.323, 0.534, -0.100),
    98: (-0.265, 0.644, -0.154),
    104: (-0.709, -0.581, 0.006),
    108: (-0.260, -0.625, -0.190),
}

_right = topology.points(*_RIGHT)
RIGID = np.concatenate([topology.points(*_MIDLINE), _right, topology.MIRROR[_right]])
"""Positions among the 200 points of those that the mean face has."""

_right_shape = np.array(list(_RIGHT.values()))
MEAN_FACE = np.concatenate([np.array(list(_MIDLINE.values())), _right_shape, _right_shape * (-1, 1, 1)])
"""float64 (len(RIGID), 3): the rigid mean face, around its centre of gravity."""
MEAN_FACE -= MEAN_FACE.mean(0)


def rotation_of(solid: F32) -> np.ndarray:
    """float (n, 200, 3), x, y and depth in one unit → float64 (n, 3, 3): turns the mean face onto each face."""
    faces = solid[:, RIGID].astype(np.float64)
    faces -= faces.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(faces.transpose(0, 2, 1) @ MEAN_FACE)
    # A reflection may fit a flat or inside-out cloud better; a head never is one.
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.asarray(u @ vt)


def pose_of(solid: F32) -> F32:
    """float (n, 200, 3), x, y and depth in one unit → float32 (n, 3): yaw, pitch, roll in degrees.

    Yaw is positive when the nose points to the picture's right, pitch when it points up, roll when the head is turned
    clockwise as seen. The order of turns is pitch, then yaw, then roll, so a roll is a turn of the picture.
    """
    r = rotation_of(solid)
    yaw = np.arcsin(np.clip(r[:, 2, 0], -1, 1))
    pitch = -np.arctan2(r[:, 2, 1], r[:, 2, 2])
    roll = np.arctan2(r[:, 1, 0], r[:, 0, 0])
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], 1)), np.float32)
