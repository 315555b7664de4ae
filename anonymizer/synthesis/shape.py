"""Proportions: a face's own are taken out of its points and the identity's put in."""

from __future__ import annotations

import numpy as np

from anonymizer.faces import topology
from anonymizer.frame import F32
from anonymizer.synthesis.bank import FaceModel

_STILL = np.setdiff1d(
    np.arange(topology.COUNT - 2),
    np.concatenate([topology.EYE_RIGHT, topology.EYE_LEFT, topology.LIPS_OUTER, topology.LIPS_INNER]),
)
"""Points that stay when a face blinks or speaks."""

NOISE = 0.02
"""What landmarks err, in eye distances: how firmly a face's own proportions are held to the modes' spread."""

RIM = 0.16
"""Points nearer to the outline than this share of the texture move less; those on it stay."""


class Proportions:
    """Moves points, so that where features stand tells of the identity and not of the person.

    A scaled-orthographic camera is fitted to a face's still points and the mean shape; the shape modes are fitted to
    what is left: those are the face's own. Blinking, speaking and gaze stay: an eye moves as a whole, and so do the
    lips' edges that face each other.
    """

    def __init__(self, model: FaceModel) -> None:
        count = len(model.shape_modes)
        plain = np.concatenate([model.shape_mean, np.ones((topology.COUNT, 1), np.float32)], 1)
        self._camera = np.linalg.pinv(plain[_STILL]).T.astype(np.float32)
        self._mean = plain[_STILL]
        still = model.shape_modes[:, _STILL]
        self._gram = np.einsum("kvi,lvj->ijkl", still, still).reshape(9, count * count).astype(np.float32)
        self._still = np.ascontiguousarray(still.transpose(2, 1, 0)).reshape(3, len(_STILL), count)
        oval = model.uv[topology.OVAL]
        distance = np.abs(model.uv[:, None] - oval[None]).max(2).min(1)
        tie = np.clip(distance / RIM, 0, 1)[:, None] * _ties(model.uv)
        # The picture's outline stays, so features stand where the identity's would within it: what a mode does to the
        # outline, as an affine map, is taken back everywhere.
        flat = np.concatenate([np.ones((topology.COUNT, 1)), model.shape_mean[:, :2]], 1)
        back = flat @ np.linalg.pinv(flat[topology.OVAL])
        modes = model.shape_modes - np.matmul(back, model.shape_modes[:, topology.OVAL])
        self._moves = np.matmul(tie, modes).reshape(len(modes), -1).astype(np.float32)

    def fit(self, points: F32) -> tuple[F32, F32]:
        """float32 (n, 200, 2) points in pixels → float32 (n, 2, 3) cameras and (n, k) the faces' own coefficients."""
        still = points[:, _STILL]
        camera = np.matmul(still.transpose(0, 2, 1), self._camera)  # (n, 2, 4)
        rest = still - np.matmul(self._mean, camera.transpose(0, 2, 1))
        turn = np.ascontiguousarray(camera[:, :, :3])
        square = np.matmul(turn.transpose(0, 2, 1), turn)
        pixels = np.trace(square, axis1=1, axis2=2)[:, None, None] / 2  # of an eye distance, squared
        count = self._still.shape[2]
        both = (square.reshape(-1, 9) @ self._gram).reshape(-1, count, count)
        back = np.matmul(rest, turn).transpose(2, 0, 1)  # (3, n, still points)
        seen = np.matmul(back, self._still).sum(0)
        prior = NOISE**2 * pixels * np.eye(count, dtype=np.float32)
        return turn, np.asarray(np.linalg.solve(both + prior, seen[:, :, None])[:, :, 0], np.float32)

    def move(self, turn: F32, change: F32) -> F32:
        """What a change of the coefficients, float32 (n, k), does to the points: float32 (n, 200, 2) pixels."""
        moved = (change @ self._moves).reshape(len(change), topology.COUNT, 3)
        return np.asarray(np.matmul(moved, turn.transpose(0, 2, 1)), np.float32)


def _ties(uv: F32) -> F32:
    """float32 (200, 200): what each point's move is made of, so that openings keep their width."""
    ties = np.eye(topology.COUNT, dtype=np.float32)
    for outline, iris in ((topology.EYE_RIGHT, topology.IRIS_RIGHT), (topology.EYE_LEFT, topology.IRIS_LEFT)):
        a, b = outline[0], outline[8]
        for point in (*outline, iris):
            t = float(np.clip((uv[point, 0] - uv[a, 0]) / (uv[b, 0] - uv[a, 0]), 0, 1))
            ties[point] = 0
            ties[point, a], ties[point, b] = 1 - t, t
    lower, upper = topology.LIPS_INNER[1:10], topology.LIPS_INNER[:10:-1]
    for a, b in zip(lower, upper, strict=True):
        ties[a] = ties[b] = 0
        ties[[a, b], [[a], [b]]] = 0.5
    return ties
