"""What the 200 points carry: triangles, skin beyond the outline, places where light is measured.

All of it is linear in the points, so that one matrix product serves every face of a frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.faces import topology
from anonymizer.frame import F32
from anonymizer.synthesis.bank import FaceModel
from anonymizer.synthesis.cosines import ORDERS, basis

I64 = NDArray[np.int64]

_INNER = np.concatenate(
    [
        topology.BROW_RIGHT,
        topology.BROW_LEFT,
        topology.EYE_RIGHT,
        topology.EYE_LEFT,
        topology.LIPS_OUTER,
        topology.points(48, 278, 129, 358, 18),
    ]
)
"""The features by which people are known; their hull is always painted fully."""

NODES = 10
"""Light is measured on a grid of NODES × NODES places at most."""

SMOOTHNESS = 0.35
"""Penalty on a cosine, times the square of its order: shadows have soft edges."""

KEPT = (1.0, 0.4, 0.15, 0.0)
"""Share of the cosines of each order that is drawn: fine shadows are cast by the face's own relief, and recognisers
know it by them."""


class Rig:
    """Built once from the face model; every array is read only."""

    def __init__(self, model: FaceModel) -> None:
        uv = model.uv.astype(np.float64)
        oval = uv[topology.OVAL]
        centre = oval.mean(0)
        skin = np.concatenate([model.triangles, model.eye_right, model.eye_left, model.mouth]).astype(np.int64)

        # Outward beyond the outline, by as much as the face reaches inward there: a side turned away grows little.
        inward = barycentric(centre + 0.72 * (oval - centre), uv, skin)
        rim = np.zeros_like(inward)
        rim[np.arange(len(oval)), topology.OVAL] = 1
        out = rim - inward
        self.points = np.concatenate([np.eye(topology.COUNT), rim + 1.1 * out]).astype(np.float32)
        """float32 (v, 200): the points and, beyond the outline, a ring."""
        self.uv = (self.points @ model.uv).astype(np.float32)
        ring = topology.COUNT + np.arange(len(oval))
        a, b = topology.OVAL, np.roll(topology.OVAL, -1)
        outer = np.roll(ring, -1)
        belt = np.concatenate([np.stack([a, ring, b], 1), np.stack([ring, outer, b], 1)])
        triangles = np.concatenate([belt, skin])
        # Far triangles first, so that the nose hides the cheek behind it.
        depth = np.concatenate([np.full(len(belt), np.inf), model.shape_mean[skin, 2].mean(1)])
        triangles = triangles[np.argsort(-depth, kind="stable")]
        turn = _areas(self.uv[triangles]) < 0
        triangles[turn] = triangles[turn][:, [0, 2, 1]]
        self.triangles = triangles
        self.corners_uv = self.uv[triangles]

        # The blend ends above the outline on the forehead, so that the hairline lies under it, and on it along the jaw.
        up = np.clip((centre[1] - oval[:, 1]) / (centre[1] - oval[:, 1].min()), -1, 1)
        grow = np.interp(up, [-1, -0.3, 0.1, 0.6, 1], EDGE)
        self.edge = (rim + grow[:, None] * out).astype(np.float32)
        """float32 (36, 200): where the blend's weight is one half."""
        middle = np.zeros(topology.COUNT)
        middle[_INNER] = 1 / len(_INNER)
        shield = np.eye(topology.COUNT)[_INNER]
        self.shield = (shield + SHIELD * (shield - middle)).astype(np.float32)
        """float32 (i, 200): the inner features, grown; nothing of the picture stays inside their hull."""
        self.limits = np.concatenate([self.edge, self.shield])
        """Both: what the blend is made of lies within."""

        self._place_nodes(uv, skin, model)

    def inwardness(self, places: F32) -> F32:
        """float32 (n,) for places in the texture: RIM on the outline and beyond, 1 well inside of it."""
        deep = np.array([_inside(self.uv[topology.OVAL].astype(np.float64), place) for place in places])
        return (RIM + (1 - RIM) * np.clip(deep / 0.2, 0, 1)).astype(np.float32)

    def _place_nodes(self, uv: NDArray[np.float64], skin: I64, model: FaceModel) -> None:
        low, high = uv[topology.OVAL].min(0), uv[topology.OVAL].max(0)
        steps = (np.arange(NODES) + 0.5) / NODES
        grid = np.stack(np.meshgrid(steps, steps), 2).reshape(-1, 2) * (high - low) + low
        keep = np.array([_inside(uv[topology.OVAL], p) > 0.02 for p in grid])
        for outline, gap in (
            (topology.EYE_RIGHT, 0.035),
            (topology.EYE_LEFT, 0.035),
            (topology.BROW_RIGHT, 0.025),
            (topology.BROW_LEFT, 0.025),
            (topology.LIPS_OUTER, 0.02),
        ):
            keep &= np.array([_inside(uv[outline], p) < -gap for p in grid])
        self.node_uv = grid[keep].astype(np.float32)
        self.nodes = barycentric(self.node_uv.astype(np.float64), uv, skin).astype(np.float32)
        """float32 (m, 200): places on bare skin where light is measured."""
        self.node_basis = basis(self.node_uv)
        orders = ORDERS.sum(1)
        self.penalty = SMOOTHNESS * orders.astype(np.float32) ** 2
        self.kept = np.array(KEPT, np.float32)[orders]


RIM = 0.4
"""What is left on the outline of an identity's own tone, so that no edge is seen there."""

SHIELD = 0.12
"""How far the shield over the inner features reaches beyond them, from their middle."""

EDGE = (-0.06, 0.02, 0.14, 0.32, 0.84)
"""How far the blend reaches beyond the outline at chin, jaw, cheek, temple and forehead, in ring widths. The
hairline is the person's own: with it hidden, a recogniser knows a quarter fewer."""


def barycentric(places: NDArray[np.float64], uv: NDArray[np.float64], triangles: I64) -> NDArray[np.float64]:
    """float64 (n, 200): each place as a weighted mean of its triangle's corners (of the nearest one if outside)."""
    a, b, c = uv[triangles[:, 0]], uv[triangles[:, 1]], uv[triangles[:, 2]]
    area = _areas(uv[triangles])
    good = np.abs(area) > 1e-9
    area = np.where(good, area, 1)
    out = np.zeros((len(places), len(uv)))
    for row, p in zip(out, places, strict=True):
        v = ((p - a)[:, 0] * (c - a)[:, 1] - (p - a)[:, 1] * (c - a)[:, 0]) / area
        w = ((b - a)[:, 0] * (p - a)[:, 1] - (b - a)[:, 1] * (p - a)[:, 0]) / area
        weights = np.stack([1 - v - w, v, w], 1)
        best = int(np.where(good, weights.min(1), -np.inf).argmax())
        row[triangles[best]] = weights[best]
    return out


def _areas(corners: NDArray[np.floating]) -> NDArray[np.floating]:
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _inside(outline: NDArray[np.float64], place: NDArray[np.float64]) -> float:
    """Distance to the outline, positive inside."""
    hull = cv2.convexHull(outline.astype(np.float32))
    return float(cv2.pointPolygonTest(hull, (float(place[0]), float(place[1])), True))
