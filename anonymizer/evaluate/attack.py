"""Attackers that learn: a linear map from anonymised to original embeddings. Pure, NumPy alone.

The map is learned on half of the people and attacks the other half, whom it never saw, and the other way round. What
it finds beyond the same attack on faces filled with grey is what the anonymiser lets through in a direction that a
plain comparison misses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluate.reidentify import Known, enrol, enrolled, enrolled_apart
from anonymizer.evaluate.statistics import F64, Names
from anonymizer.faces.recogniser import unit
from anonymizer.frame import F32

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties to choose from, in units of the inputs' mean variance."""


@dataclass(frozen=True, slots=True)
class Map:
    """y = (x − mean) · weights + offset."""

    mean: F64
    weights: F64
    offset: F64

    def __call__(self, embeddings: F32) -> F32:
        """float32 (n, d) → float32 (n, e), of length one."""
        return unit(((embeddings - self.mean) @ self.weights + self.offset).astype(np.float32))


def ridge(x: F32, y: F32, strength: float) -> Map:
    """Hoerl and Kennard's ridge regression (1970) from x (n, d) to y (n, e)."""
    mean, offset = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    centred = x - mean
    gram = centred.T @ centred
    penalty = strength * max(float(np.trace(gram)) / len(gram), 1e-9)
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), centred.T @ (y - offset))
    return Map(mean, weights, offset)


def learn(x: F32, y: F32, who: Names, seed: int = 0) -> Map:
    """The ridge map whose strength knows the most people of a quarter that was held out, learned anew on all."""
    held = among(who, 0.25, seed + 1)
    best, strength = -1.0, STRENGTHS[0]
    gallery, names = enrol(y[held], who[held])
    if held.any() and not held.all():
        for one in STRENGTHS:
            mapped = ridge(x[~held], y[~held], one)(x[held])
            scores = mapped @ gallery.T
            right = float((names[scores.argmax(1)] == who[held]).mean())
            # Among equals the one that comes nearer to the truth.
            quality = right + 1e-3 * float(np.einsum("ij,ij->i", mapped, y[held]).mean())
            if quality > best:
                best, strength = quality, one
    return ridge(x, y, strength)


def among(who: Names, share: float, seed: int) -> NDArray[np.bool_]:
    """bool (n,): the faces of a share of the people, drawn at random."""
    names = np.unique(who)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.isin(who, names[order[: round(share * len(names))]])


def trained(probes: F32, originals: F32, who: Names, first: NDArray[np.bool_], seed: int = 0) -> Known | None:
    """Learn on half of the people, know the other half; then the other way round.

    probes and originals belong together row by row. first: the faces whose originals are enrolled; the probes of the
    others are attacked. Learned is the way to a person's mean original. None with fewer than eight people.
    """
    if len(np.unique(who)) < 8:
        return None
    half = among(who, 0.5, seed)
    found = []
    for student in (half, ~half):
        gallery, names = enrol(originals[student], who[student])
        attacker = learn(probes[student], gallery[np.searchsorted(names, who[student])], who[student], seed)
        asked = ~student & ~first
        if not asked.any() or not (~student & first).any():
            return None
        gallery, names = enrol(originals[~student & first], who[~student & first])
        found.append((attacker(probes[asked]), who[asked], gallery, names))
    return enrolled_apart(found)


def parrot(faces: F32, who: Names, first: NDArray[np.bool_]) -> Known | None:
    """A recogniser enrolled on anonymised faces (Newton et al. 2005): the first ones are enrolled, the others asked.

    It knows people where the anonymiser treats one person alike and others differently. None with fewer than two
    people.
    """
    if not first.any() or first.all() or len(np.unique(who)) < 2:
        return None
    gallery, names = enrol(faces[first], who[first])
    return enrolled(faces[~first], who[~first], gallery, names)
