"""What the mesh says of the very crop that the net is shown.

The mesh is no exact function of the face: on another crop of the same face, or on the same crop blurred, it answers
otherwise, by 2–4 % of the eyes' distance on clear video and by 10 % on spoilt pictures. A net that is to agree with it
must therefore learn its answer to the same pixels. Every tile of a shard gets several views, each a crop moved, turned,
scaled and mirrored at random about as a detector's boxes are, and the mesh's answer to it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from net import POINTS, SIZE
from pictures import MARGIN, TILE

from anonymizer.faces import topology

WIDTH = 5 + POINTS * 3 + 2
"""Numbers of a view: turn in degrees, scale, shift right and down, mirrored, 600 of the target, presence, weight."""
PARTS = (topology.EYE_RIGHT, topology.EYE_LEFT, np.concatenate([topology.LIPS_OUTER, topology.LIPS_INNER]))
_FAR = 30.0  # per cent of the eyes' distance from the label: the mesh is lost there


def crop_of(tile: np.ndarray, view: np.ndarray, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """The view's crop of a tile, uint8 (size, size, 3), and the map (2, 3) from tile to crop in fractions of sides."""
    angle, scale, right, down, mirror = view[:5]
    grow = MARGIN * scale
    cos, sin = np.cos(np.radians(angle)) * grow, np.sin(np.radians(angle)) * grow
    matrix = np.array([[cos, -sin], [sin, cos]])
    if mirror:
        matrix[0] *= -1
    offset = 0.5 + np.array([right, down]) - matrix @ (0.5, 0.5)
    pixels = matrix * size / TILE
    warp = np.concatenate([pixels, (offset * size + pixels.sum(1) / 2 - 0.5)[:, None]], 1)
    crop = cv2.warpAffine(tile, warp, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crop, np.concatenate([matrix, offset[:, None]], 1)


def drawn(rng: np.random.Generator, mirror: bool) -> np.ndarray:
    """A view without its target, drawn about as wide as detections stray from the landmarks' own crops, and three in
    ten twice as wide, as tracks do between detections."""
    view = np.zeros(WIDTH, np.float32)
    wide = 2 if rng.random() < 0.3 else 1
    view[0] = np.clip(rng.normal(0, 4 * wide), -18, 18)
    view[1] = np.clip(np.exp(rng.normal(0, 0.04 * wide)), 0.8, 1.25)
    view[2:4] = np.clip(rng.normal(0, 0.02 * wide, 2), -0.12, 0.12)
    view[4] = mirror
    return view


def agreed(looks: np.ndarray) -> np.ndarray:
    """Views (n, v, WIDTH) of n tiles, the same with the shape of eyes and lips, about the middle of each, that the mesh
    sees in the mean of a tile's views.

    How far open the mesh sees an eye hangs on the crop as much as on the eye: from a detector's crop to one drawn here
    its answers correlate along a track by 0.7 only, to the mean of five by 0.8. Where the eye stands is left as it is.
    """
    looks = looks.copy()
    sure = looks[:, :, -1] == 1
    points = looks[:, :, 5:-2].reshape(*looks.shape[:2], POINTS, 3)
    angle, scale = np.radians(looks[:, :, 0]), MARGIN * looks[:, :, 1]
    # Mirrored views turn the other way. To the tile's axes and back, all of a tile mirrored alike.
    angle = np.where(looks[:, :, 4] > 0, -angle, angle)
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], -1)
    turn = turn.reshape(*angle.shape, 2, 2) * scale[..., None, None]
    back = np.linalg.inv(turn)
    weight = sure[:, :, None, None] / np.maximum(sure.sum(1), 1)[:, None, None, None]
    for part in PARTS:
        shape = points[:, :, part, :2] - points[:, :, part, :2].mean(2, keepdims=True)
        upright = shape @ back
        mean = (upright * weight).sum(1, keepdims=True)
        change = np.where(sure[:, :, None, None], mean @ turn - shape, 0)
        points[:, :, part, :2] += change
    return looks


class Viewer:
    """mesh: MediaPipe's 468-point mesh."""

    def __init__(self, mesh: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(mesh), options, providers=["CPUExecutionProvider"])
        source = self._session.get_inputs()[0]
        self._name, self._size = source.name, source.shape[2]

    def __call__(self, tile: np.ndarray, target: np.ndarray, view: np.ndarray) -> np.ndarray:
        """The view (``drawn``) with its target filled in. target: float32 (602,), the tile's label in fractions of its
        side, presence, weight. Where the mesh sees no face, or one elsewhere, the label stays and counts a third."""
        view = view.copy()
        label, (presence, weight) = target[: POINTS * 3].reshape(POINTS, 3).copy(), target[-2:]
        _, warp = crop_of(tile[:2, :2], view)
        label[:, :2] = label[:, :2] @ warp[:, :2].T + warp[:, 2]
        label[:, 2] *= MARGIN * view[1]
        if view[4]:
            label = label[topology.MIRROR]
        if weight > 0:
            solid, sure = self._ask(crop_of(tile, view, self._size)[0])
            eyes = topology.eye_centres(np.stack([label, solid])[:, :, :2])
            reach, ours = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1)
            apart = 100 * np.linalg.norm(solid[:-2, :2] - label[:-2, :2], axis=1).mean() / max(reach, 0.1)
            if sure > 0.5 and apart < _FAR:
                for iris, outline in (
                    (topology.IRIS_RIGHT, topology.EYE_RIGHT),
                    (topology.IRIS_LEFT, topology.EYE_LEFT),
                ):
                    offset = (label[iris, :2] - label[outline, :2].mean(0)) * (ours / max(reach, 0.1))
                    solid[iris, :2] = solid[outline, :2].mean(0) + offset
                    solid[iris, 2] = solid[outline, 2].mean()
                label, weight = solid, 1.0
            else:
                weight = weight / 3
        view[5:-2], view[-2:] = label.ravel(), (presence, weight)
        return view

    def _ask(self, crop: np.ndarray) -> tuple[np.ndarray, float]:
        """The mesh's points float32 (200, 3) in fractions of the crop, depth around zero, and its presence."""
        mesh, logit = self._session.run(None, {self._name: crop[None, :, :, ::-1].astype(np.float32) / 255})
        solid = np.zeros((POINTS, 3), np.float32)
        solid[:-2] = mesh.reshape(-1, 3)[topology.MESH_INDICES] / self._size
        solid[:, 2] -= solid[:-2, 2].mean()
        return solid, float(1 / (1 + np.exp(-logit.item())))
