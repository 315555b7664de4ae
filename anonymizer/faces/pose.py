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
    10: (0.000, -0.863, -0.127),
    151: (0.000, -0.617, -0.187),
    9: (0.000, -0.370, -0.231),
    8: (0.000, -0.234, -0.213),
    168: (0.000, -0.111, -0.209),
    6: (0.000, 0.016, -0.278),
    197: (0.000, 0.127, -0.358),
    195: (0.000, 0.229, -0.444),
    5: (0.000, 0.338, -0.533),
    4: (0.000, 0.470, -0.572),
    1: (0.000, 0.571, -0.540),
    19: (0.000, 0.622, -0.491),
    94: (0.000, 0.641, -0.369),
    2: (0.000, 0.668, -0.303),
}
_RIGHT = {
    33: (-0.714, -0.041, 0.129),
    133: (-0.279, -0.015, 0.044),
    127: (-1.057, 0.001, 0.889),
    162: (-1.049, -0.227, 0.738),
    234: (-1.042, 0.216, 0.956),
    54: (-0.918, -0.582, 0.360),
    103: (-0.773, -0.719, 0.166),
    67: (-0.546, -0.811, -0.004),
    50: (-0.749, 0.458, 0.034),
    101: (-0.534, 0.348, -0.043),
    117: (-0.812, 0.218, 0.130),
    118: (-0.694, 0.256, 0.041),
    122: (-0.091, 0.041, -0.242),
    196: (-0.087, 0.148, -0.336),
    129: (-0.331, 0.528, -0.120),
    98: (-0.273, 0.635, -0.178),
    104: (-0.706, -0.576, 0.028),
    108: (-0.260, -0.622, -0.165),
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
