"""Smooth functions over the texture: light on a face, and what its skin adds to it."""

from __future__ import annotations

import numpy as np

from anonymizer.frame import F32

ORDER = 3
"""Products of cosines up to this order in both directions together: 10 numbers a face."""

ORDERS = np.array([(i, n - i) for n in range(ORDER + 1) for i in range(n + 1)])
"""int64 (k, 2): the cosines' orders across the face and down, lowest first; the first function is constant."""

EVEN = ORDERS[:, 0] % 2 == 0
"""bool (k,): functions that are the same on both sides of the face."""


def basis(uv: F32) -> F32:
    """float32 (n, 2) places in the texture → float32 (n, k): the functions there."""
    return np.asarray(np.cos(np.pi * uv[:, None] * ORDERS).prod(2), np.float32)
