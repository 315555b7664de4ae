"""Portraits seen from elsewhere: the face's triangles turned in space, and the picture warped with them.

The label of the new picture is the old label's points after the same turn, so it is as good as the old one.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import Delaunay

from anonymizer.faces import topology
from anonymizer.faces.pose import rotation_of

_RINGS = ((1.25, 0.3, 1.0), (1.8, 0.5, 0.6), (3.2, 0.5, 0.0))
"""Ovals around the face that carry hair, neck, background: scale, eye distances behind the oval, share of the turn."""


def about(yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """(3, 3) rotation for degrees in ``faces.pose``'s signs."""
    a, b, c = np.radians([-pitch, -yaw, roll])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


class Turner:
    """labels: (n, 200, 3) good labels; they give the triangles and the shapes of other faces to mix in."""

    def __init__(self, labels: np.ndarray) -> None:
        solid = labels.astype(np.float64)
        solid -= solid.mean(1, keepdims=True)
        centres = topology.eye_centres(solid[:, :, :2])
        rotation = rotation_of(solid.astype(np.float32))
        upright = np.einsum("npi,nij->npj", solid, rotation)
        centres = topology.eye_centres(upright[:, :, :2])
        upright /= np.linalg.norm(centres[:, 1] - centres[:, 0], axis=1)[:, None, None]
        self.shapes = upright
        mean = upright.mean(0)
        self.triangles = Delaunay(self._with_rings(mean)[:, :2]).simplices

    @staticmethod
    def _with_rings(solid: np.ndarray) -> np.ndarray:
        """(200, 3) → (200 + 3 × 36, 3)."""
        oval = solid[topology.OVAL]
        centre = oval.mean(0)
        unit = np.linalg.norm(oval[0] - oval[18]) / 2  # forehead to chin is about two eye distances
        rings = []
        for scale, behind, _ in _RINGS:
            ring = centre + (oval - centre) * (scale, scale, 1)
            ring[:, 2] += behind * unit
            rings.append(ring)
        return np.concatenate([solid, *rings])

    def __call__(
        self,
        label: np.ndarray,
        yaw: float,
        pitch: float,
        mix: float,
        other: int,
        blink: float,
        gape: float,
        distance: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vertices before (308, 2) and after (308, 3), both in the picture's pixels; the first 200 are the new label.

        yaw and pitch: degrees to turn by. mix: share of the shape of face number other. blink: share by which the
        upper lids come down; they go up where it is negative. gape: by how much the lower lip comes down, in widths of
        the mouth; where it is negative, the share by which the mouth shuts. distance: of the camera, in face heights.
        """
        label = label.astype(np.float64)
        before = self._with_rings(label)
        after = label.copy()
        if blink:
            for upper, lower in (_LIDS_RIGHT, _LIDS_LEFT):
                after[upper] += blink * (after[lower] - after[upper])
        if gape:
            if gape < 0:
                move = gape * (after[_LIPS[1]] - after[_LIPS[0]])
            else:
                across = after[_CORNERS[1]] - after[_CORNERS[0]]
                down = after[topology.OVAL[18]] - after[topology.NOSE_TIP]
                move = gape * np.linalg.norm(across) * down / np.linalg.norm(down) * _ARCH
            after[_LIPS[1]] += move
            after[_LIPS[2]] += move
            after[topology.OVAL[15:22]] += 0.6 * move[4]
        centre = after.mean(0)
        if mix:
            rotation = rotation_of(label[None].astype(np.float32))[0]
            mine = (after - centre) @ rotation
            size = np.sqrt((mine**2).sum() / (self.shapes[other] ** 2).sum())
            # The others' eyes stay their own: an eyelid must close over its own iris.
            moved = mine + mix * (size * self.shapes[other] - mine)
            for outline, iris in ((topology.EYE_RIGHT, topology.IRIS_RIGHT), (topology.EYE_LEFT, topology.IRIS_LEFT)):
                eye = np.append(outline, iris)
                moved[eye] = mine[eye] + (moved[outline] - mine[outline]).mean(0)
            after = centre + moved @ rotation.T
        after = self._with_rings(after)
        pivot = after[topology.OVAL].mean(0)
        turned = after.copy()
        full = about(yaw, pitch)
        first = topology.COUNT
        turned[:first] = pivot + (after[:first] - pivot) @ full.T
        for number, (_, _, share) in enumerate(_RINGS):
            ring = slice(first + 36 * number, first + 36 * (number + 1))
            turned[ring] = pivot + (after[ring] - pivot) @ about(yaw * share, pitch * share).T
        height = np.linalg.norm(label[topology.OVAL[0]] - label[topology.OVAL[18]])
        depth = turned[:first, 2] - pivot[2]
        scale = distance / np.maximum(distance + depth / height, 0.3)
        turned[:first, :2] = pivot[:2] + (turned[:first, :2] - pivot[:2]) * scale[:, None]
        return before[:, :2], turned

    def maps(self, before: np.ndarray, after: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """cv2.remap's maps, float32 (size, size): where each pixel of the turned picture comes from.

        after: (308, 3) in the turned picture's pixels. Near triangles are painted over far ones.
        """
        corners = after[self.triangles]
        order = np.argsort(-corners[:, :, 2].mean(1))
        polygons = np.rint(corners[order, :, :2] * 16).astype(np.int32)
        chosen = np.full((size, size), -1, np.int32)
        for number, polygon in enumerate(polygons):
            cv2.fillConvexPoly(chosen, polygon, number, shift=4)
        to = np.concatenate([corners[order, :, :2], np.ones((len(order), 3, 1))], 2)
        determinant = np.linalg.det(to)
        to[np.abs(determinant) < 1e-3] = np.eye(3)
        affine = np.linalg.solve(to, before[self.triangles][order]).astype(np.float32)
        affine = np.concatenate([affine, np.full((1, 3, 2), -1e4, np.float32)])  # -1: outside of every triangle
        rows, columns = np.mgrid[:size, :size].astype(np.float32)
        picked = affine[chosen]
        maps = picked[..., 0, :] * columns[..., None] + picked[..., 1, :] * rows[..., None] + picked[..., 2, :]
        return np.ascontiguousarray(maps[..., 0]), np.ascontiguousarray(maps[..., 1])


_LIPS = (topology.LIPS_INNER[:10:-1], topology.LIPS_INNER[1:10], topology.LIPS_OUTER[1:10])
"""Points that face each other: the inner edge of the upper lip, that of the lower one, and its outer edge."""
_CORNERS = topology.LIPS_INNER[[0, 10]]
_ARCH = np.sin(np.pi * np.arange(1, 10) / 10)[:, None] ** 0.7
_LIDS_RIGHT = (topology.points(246, 161, 160, 159, 158, 157, 173), topology.points(7, 163, 144, 145, 153, 154, 155))
_LIDS_LEFT = (topology.points(466, 388, 387, 386, 385, 384, 398), topology.points(249, 390, 373, 374, 380, 381, 382))
