"""Proportions: a face's own are taken out of its points and the identity's put in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anonymizer.faces import topology
from anonymizer.frame import F32
from anonymizer.synthesis.bank import FaceModel, Identity

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
    what is left. taken: which share of that is removed. given: how much of the identity's own is added. Blinking,
    speaking and gaze stay: an eye moves as a whole, and so do the lips' edges that face each other.
    """

    def __init__(self, model: FaceModel, taken: float, given: float) -> None:
        self.taken, self.given = taken, given
        self._modes = model.shape_modes
        plain = np.concatenate([model.shape_mean, np.ones((topology.COUNT, 1), np.float32)], 1)
        self._fit = np.linalg.pinv(plain[_STILL]).T.astype(np.float32)
        self._mean = plain[_STILL]
        still = model.shape_modes[:, _STILL]
        self._still = still
        self._gram = np.einsum("kvi,lvj->ijkl", still, still).astype(np.float32)
        oval = model.uv[topology.OVAL]
        distance = np.abs(model.uv[:, None] - oval[None]).max(2).min(1)
        freedom = np.clip(distance / RIM, 0, 1)[:, None]
        self._tie = (freedom * _ties(model.uv)).astype(np.float32)

    def __call__(self, points: F32, identities: Sequence[Identity]) -> F32:
        """float32 (n, 200, 2) points in pixels → the same, moved."""
        still = points[:, _STILL]
        camera = np.matmul(still.transpose(0, 2, 1), self._fit)  # (n, 2, 4)
        rest = still - np.matmul(self._mean, camera.transpose(0, 2, 1))
        turn = camera[:, :, :3]
        pixels = np.square(turn).sum((1, 2))[:, None, None] / 2  # of an eye distance, squared
        both = np.einsum("nai,naj,ijkl->nkl", turn, turn, self._gram, optimize=True)
        seen = np.einsum("nva,nai,kvi->nk", rest, turn, self._still, optimize=True)
        prior = NOISE**2 * pixels * np.eye(len(self._modes), dtype=np.float32)
        own = np.linalg.solve(both + prior, seen[:, :, None])[:, :, 0]
        wanted = np.stack([identity.coefficients for identity in identities])
        change = np.tensordot(self.given * wanted - self.taken * own, self._modes, 1)  # (n, 200, 3)
        moved = np.matmul(self._tie, np.matmul(change, turn.transpose(0, 2, 1)))
        return np.asarray(points + moved, np.float32)


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
