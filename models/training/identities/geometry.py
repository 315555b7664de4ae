"""Shape without pose, the layout of the texture, and the triangles."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import Delaunay

from anonymizer.faces import topology as T

CORE = np.setdiff1d(
    np.arange(T.COUNT - 2),
    np.concatenate([T.EYE_RIGHT, T.EYE_LEFT, T.LIPS_OUTER, T.LIPS_INNER, T.points(18, 200, 199)]),
)
"""Points that hold still when a face blinks or speaks: pose and scale are fitted on these."""


def points_200(mesh: np.ndarray) -> np.ndarray:
    """(n, 468, 3) → (n, 200, 3); the iris centres are put into the middle of the eye outlines."""
    p = mesh[:, T.MESH_INDICES]
    return np.concatenate([p, p[:, T.EYE_RIGHT].mean(1)[:, None], p[:, T.EYE_LEFT].mean(1)[:, None]], 1)


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation, shift that bring source (n, 3) nearest to target (n, 3) (Umeyama 1991)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ (sign[:, None] * vt)
    scale = float((s * sign).sum() / (a * a).sum())
    return scale, rotation, target.mean(0) - scale * rotation @ source.mean(0)


def canonical(shape: np.ndarray) -> np.ndarray:
    """Move and scale (…, 200, 3) to its eye centres: origin between them, their distance 1."""
    right, left = shape[..., T.EYE_RIGHT, :].mean(-2), shape[..., T.EYE_LEFT, :].mean(-2)
    unit = np.linalg.norm(left - right, axis=-1)[..., None, None]
    return (shape - ((right + left) / 2)[..., None, :]) / unit


def symmetric(shape: np.ndarray) -> np.ndarray:
    """The mean of (…, 200, 3) and its mirror image."""
    return (shape + shape[..., T.MIRROR, :] * [-1, 1, 1]) / 2


def frontal(shapes: np.ndarray, rounds: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shapes (n, 200, 3) in pixels → symmetric mean (200, 3), shapes without pose (n, 200, 3) and rotations (n, 3, 3).

    Generalised Procrustes analysis on ``CORE``. The frame of the mean is the median portrait's, made upright by its own
    symmetry.
    """
    mean = symmetric(canonical(np.median(canonical(shapes), 0)))
    aligned, rotations = shapes.copy(), np.zeros((len(shapes), 3, 3))
    for _ in range(rounds):
        for i, shape in enumerate(shapes):
            scale, rotation, shift = similarity(shape[CORE], mean[CORE])
            aligned[i], rotations[i] = scale * shape @ rotation.T + shift, rotation
        mean = symmetric(canonical(aligned.mean(0)))
    return mean, np.stack([canonical(a) for a in aligned]), rotations


def angles(rotation: np.ndarray) -> np.ndarray:
    """(…, 3, 3) rotation from the picture to the frontal face → yaw, pitch, roll in degrees (…, 3)."""
    r = np.swapaxes(rotation, -1, -2)
    yaw = np.arctan2(r[..., 0, 2], r[..., 2, 2])
    pitch = np.arcsin(np.clip(-r[..., 1, 2], -1, 1))
    roll = np.arctan2(r[..., 1, 0], r[..., 1, 1])
    return np.degrees(np.stack([yaw, pitch, roll], -1))


LIP_GAP = 0.012
"""Half the gap between the inner lips in the texture, in eye distances: room for the dark line of closed lips."""


LIP_FADE = np.sin(np.linspace(0, np.pi, 11))[1:-1] ** 0.5


def shut(shapes: np.ndarray) -> np.ndarray:
    """Shapes (n, 200, 3) with lips shut but for ``LIP_GAP``: how far lips are parted is no trait of a person."""
    out = shapes.copy()
    inner, outer = T.LIPS_INNER, T.LIPS_OUTER  # both run corner, lower lip, corner, upper lip
    lower, upper = inner[1:10], inner[11:][::-1]
    close = (out[:, lower, 1] - out[:, upper, 1]) / 2 - LIP_GAP * LIP_FADE
    for points, sign in ((lower, -1), (upper, 1), (outer[1:10], -1), (outer[11:][::-1], 1)):
        out[:, points, 1] += sign * close
    return out


def layout(mean: np.ndarray, border: float = 0.03) -> np.ndarray:
    """(200, 2) places in the texture, 0–1: the frontal view, its sides unrolled, its lips almost shut."""
    depth = mean[:, 2] - mean[:, 2].min()
    x = mean[:, 0] * (1 + 0.10 * depth)  # cheeks and temples, seen at a slant, get some of their width back
    y = mean[:, 1].copy()
    lips = T.LIPS_INNER
    lower, upper = lips[1:10], lips[11:][::-1]  # LIPS_INNER runs corner, lower lip, corner, upper lip
    middle = (y[lower] + y[upper]) / 2
    y[lower], y[upper] = middle + LIP_GAP * LIP_FADE, middle - LIP_GAP * LIP_FADE
    xy = np.stack([x, y], 1)
    xy = (xy + xy[T.MIRROR] * [-1, 1]) / 2
    span = max(np.ptp(xy[:, 0]), np.ptp(xy[:, 1])) / (1 - 2 * border)
    centre = (xy.max(0) + xy.min(0)) / 2
    return ((xy - centre) / span + 0.5).astype(np.float32)


def inside(polygon: np.ndarray, point: np.ndarray) -> bool:
    return (
        cv2.pointPolygonTest(np.ascontiguousarray(polygon, np.float32), (float(point[0]), float(point[1])), False) > 0
    )


def triangles(uv: np.ndarray, mean: np.ndarray) -> dict[str, np.ndarray]:
    """Symmetric Delaunay triangles of the layout, as int16 (n, 3): skin, both eye openings, mouth interior."""
    xy = uv[: T.COUNT - 2].copy() * 1000
    lower, upper = T.LIPS_INNER[1:10], T.LIPS_INNER[11:][::-1]
    xy[lower, 1] += 6  # the mouth open, so that no triangle crosses it
    xy[upper, 1] -= 6
    half = np.flatnonzero(mean[: T.COUNT - 2, 0] <= 1e-5)
    xy[np.abs(mean[: T.COUNT - 2, 0]) <= 1e-5, 0] = 500
    tri = half[Delaunay(xy[half]).simplices]
    parts: dict[str, list[np.ndarray]] = {"skin": [], "eye": [], "mouth": []}
    # the outlines lie on half the face: the mouth's right half, closed over the midline
    mouth = np.array([i for i in T.LIPS_INNER if i in set(half)])
    oval = np.array([i for i in T.OVAL if i in set(half)])
    order = np.concatenate([oval[oval != T.points(10)[0]], T.points(10)])
    for found in tri:
        t = found
        a, b, c = xy[t]
        area = (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]
        if abs(area) < 1e-3:
            continue
        if area < 0:
            t = t[[0, 2, 1]]
        centre = xy[t].mean(0)
        if set(t) <= set(T.EYE_RIGHT) and inside(xy[T.EYE_RIGHT], centre):
            parts["eye"].append(t)
        elif set(t) <= set(mouth) and inside(xy[T.LIPS_INNER], centre):
            parts["mouth"].append(t)
        elif not (set(t) <= set(order) and not inside(xy[T.OVAL], centre)):
            parts["skin"].append(t)
    flip = {name: T.MIRROR[np.array(p)][:, [0, 2, 1]] for name, p in parts.items()}
    right = {name: np.array(p) for name, p in parts.items()}
    return {
        "triangles": np.concatenate([right["skin"], flip["skin"]]).astype(np.int16),
        "eye_right_triangles": right["eye"].astype(np.int16),
        "eye_left_triangles": flip["eye"].astype(np.int16),
        "mouth_triangles": np.concatenate([right["mouth"], flip["mouth"]]).astype(np.int16),
    }
