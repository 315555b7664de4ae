"""The 200 face points that every part of the project shares.

The first 198 are a subset of MediaPipe's 468-point face mesh (the numbers below are indices into that mesh), the last
two are the iris centres. Right and left are the subject's own: the right eye is on the left of an unmirrored picture.
Order: points on the midline from the forehead down, points of the right half, their mirror images on the left half in
the same order, right iris, left iris. Arrays of landmarks are float32 of shape (n, 200, 2), x then y, in pixels.
"""

from __future__ import annotations

import numpy as np

_MIDLINE = (10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 164, 0, 13, 14, 17, 18, 200, 199, 175, 152)
_RIGHT = (
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
    33,
    7,
    163,
    144,
    145,
    153,
    154,
    155,
    133,
    173,
    157,
    158,
    159,
    160,
    161,
    246,
    61,
    146,
    91,
    181,
    84,
    37,
    39,
    40,
    185,
    78,
    95,
    88,
    178,
    87,
    82,
    81,
    80,
    191,
    46,
    53,
    52,
    65,
    55,
    70,
    63,
    105,
    66,
    107,
    98,
    97,
    48,
    64,
    129,
    49,
    122,
    196,
    3,
    50,
    101,
    205,
    117,
    123,
    147,
    187,
    207,
    226,
    104,
    108,
    192,
    213,
    211,
    32,
    118,
    216,
)
_LEFT = (
    377,
    400,
    378,
    379,
    365,
    397,
    288,
    361,
    323,
    454,
    356,
    389,
    251,
    284,
    332,
    297,
    338,
    263,
    249,
    390,
    373,
    374,
    380,
    381,
    382,
    362,
    398,
    384,
    385,
    386,
    387,
    388,
    466,
    291,
    375,
    321,
    405,
    314,
    267,
    269,
    270,
    409,
    308,
    324,
    318,
    402,
    317,
    312,
    311,
    310,
    415,
    276,
    283,
    282,
    295,
    285,
    300,
    293,
    334,
    296,
    336,
    327,
    326,
    278,
    294,
    358,
    279,
    351,
    419,
    248,
    280,
    330,
    425,
    346,
    352,
    376,
    411,
    427,
    446,
    333,
    337,
    416,
    433,
    431,
    262,
    347,
    436,
)

MESH_INDICES = np.array(_MIDLINE + _RIGHT + _LEFT)
"""(198,) int: for each point its index in the 468-point mesh."""

COUNT = len(MESH_INDICES) + 2
IRIS_RIGHT, IRIS_LEFT = COUNT - 2, COUNT - 1

_m, _r = len(_MIDLINE), len(_RIGHT)
MIRROR = np.concatenate(
    [np.arange(_m), np.arange(_m + _r, _m + 2 * _r), np.arange(_m, _m + _r), [IRIS_LEFT, IRIS_RIGHT]]
)
"""(200,) int: the order of the points in a mirrored picture, ``mirrored = points[:, MIRROR]`` after x → width - x."""

_POSITION = {int(index): position for position, index in enumerate(MESH_INDICES)}


def points(*mesh_indices: int) -> np.ndarray:
    """Positions among the 200 of points named by their index in the 468-point mesh. KeyError if one is not there."""
    return np.array([_POSITION[index] for index in mesh_indices])


# Closed outlines, each in order around the shape.
OVAL = points(
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
    152,
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
)
EYE_RIGHT = points(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
EYE_LEFT = points(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
LIPS_OUTER = points(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = points(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
BROW_RIGHT = points(46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
BROW_LEFT = points(276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
NOSE_TIP = points(1)[0]

# Opening of the eyes and the mouth: (upper, lower) pairs and the corners that scale them.
EYELIDS_RIGHT = (points(160, 159, 158), points(144, 145, 153), points(33, 133))
EYELIDS_LEFT = (points(387, 386, 385), points(373, 374, 380), points(263, 362))
MOUTH = (points(82, 13, 312), points(87, 14, 317), points(78, 308))


# (5, 200): what each of the five points is made of.
_FIVE = np.zeros((5, COUNT), np.float32)
_FIVE[0, EYE_RIGHT], _FIVE[1, EYE_LEFT] = 1 / len(EYE_RIGHT), 1 / len(EYE_LEFT)
_FIVE[2, NOSE_TIP] = 1
_FIVE[[3, 4], points(61, 291)] = 1


def eye_centres(landmarks: np.ndarray) -> np.ndarray:
    """(n, 200, 2) landmarks → (n, 2, 2) centres of the right and the left eye's outline, in the same pixels."""
    return np.asarray(np.matmul(_FIVE[:2], landmarks))


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """(n, 200, 2) landmarks → (n, 5, 2) right eye, left eye, nose tip, mouth corners: the detector's order."""
    return np.asarray(np.matmul(_FIVE, landmarks))


def lines_of(points: np.ndarray) -> tuple[float, float, float, float]:
    """Of five points (5, 2): x and y from the right eye to the left one, and from between the eyes to the mouth."""
    (right_x, right_y), (left_x, left_y), _, (ax, ay), (bx, by) = points.tolist()
    return left_x - right_x, left_y - right_y, (ax + bx - right_x - left_x) / 2, (ay + by - right_y - left_y) / 2
