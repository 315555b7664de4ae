"""How well recognisers still know people: the same frame, enrolment, linkage. Pure: embeddings come in.

Embeddings are float32 (n, d) of length one; who: (n,) names of their people. A threshold is set on impostor pairs of
the very kind that is judged (an anonymised face against other people's originals): recognisers call many covered faces
alike, and a threshold from natural faces would mistake that for knowing someone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluate.statistics import Names, Rate, rate, threshold_at
from anonymizer.faces.recogniser import unit
from anonymizer.frame import F32

FARS = (1e-2, 1e-3)
"""False accept rates at which true accepts are counted."""


@dataclass(frozen=True, slots=True)
class Known:
    """How often people are known. accepted: share of true pairs above the threshold, by false accept rate, None where
    there are too few impostors to set it; hits: bool (n,), whether the nearest was the right one (rank-1), for the
    faces of ``who``; chance: rank-1 of one who sees no face: who always names the most frequent person in the same
    frame, and any of the gallery against one."""

    accepted: dict[float, Rate | None]
    hits: NDArray[np.bool_]
    who: Names
    chance: float

    @property
    def first(self) -> Rate | None:
        """Rank-1."""
        return rate(self.hits, self.who)


def same_frame(probes: F32, originals: F32, who: Names) -> Known:
    """Each anonymised face against the original of the same frame; impostors are the originals of other people.

    Rank-1 asks whether the nearest original of any other frame is of the same person, and counts faces whose person
    has another frame.
    """
    scores = probes @ originals.T
    genuine, other = np.diag(scores).copy(), who[:, None] != who[None]
    accepted = _accepted(genuine, scores[other], who)
    np.fill_diagonal(scores, -np.inf)
    judged = np.array([(who == name).sum() > 1 for name in who], bool) & other.any()
    return Known(accepted, (who[scores.argmax(1)] == who)[judged], who[judged], _most_frequent(who[judged]))


def matching(probes: F32, originals: F32, who: Names, clips: Names, natural: float) -> NDArray[np.bool_]:
    """bool (n,): faces that match the original of the same frame above a threshold set on natural faces, or above the
    FAR 1e-2 of their own clip's impostors if that is higher (300 pairs at least). Pairs whose originals match are no
    impostors: a track that breaks gives one person two names."""
    out = np.zeros(len(probes), bool)
    for clip in np.unique(clips):
        here = clips == clip
        scores = probes[here] @ originals[here].T
        others = (who[here][:, None] != who[here][None]) & (originals[here] @ originals[here].T <= natural)
        own = threshold_at(scores[others], 1e-2)
        out[here] = np.diag(scores) > max(natural, natural if own is None else own)
    return out


def natural_threshold(originals: F32, who: Names, far: float = 1e-3) -> float | None:
    """The threshold at which untouched faces of different people are taken for one person at a rate of ``far``."""
    scores = originals @ originals.T
    return threshold_at(scores[np.triu(who[:, None] != who[None], 1)], far)


def enrolled(probes: F32, who: Names, gallery: F32, names: Names) -> Known:
    """Anonymised faces against a gallery with one embedding for each of ``names``; see ``enrol``.

    Probes of people who are not enrolled are impostors only.
    """
    return enrolled_apart([(probes, who, gallery, names)])


def enrolled_apart(rounds: Sequence[tuple[F32, Names, F32, Names]]) -> Known:
    """The same over several galleries, each asked with its own probes: (probes, who, gallery, names) each."""
    genuine, impostors, whose, hits, asked = [], [], [], [], []
    for probes, who, gallery, names in rounds:
        scores = probes @ gallery.T
        match = who[:, None] == names[None]
        there = match.any(1)
        genuine.append(scores[match])
        impostors.append(scores[~match])
        whose.append(who[np.nonzero(match)[0]])
        hits.append((names[scores.argmax(1)] == who)[there])
        asked.append(who[there])
    accepted = _accepted(*(np.concatenate(one) for one in (genuine, impostors, whose)))
    chance = float(np.mean([1 / max(1, len(names)) for *_, names in rounds]))
    return Known(accepted, np.concatenate(hits), np.concatenate(asked), chance)


def enrol(embeddings: F32, who: Names) -> tuple[F32, Names]:
    """(gallery, names): the mean of each person's embeddings, of length one."""
    names, which = np.unique(who, return_inverse=True)
    gallery = np.zeros((len(names), embeddings.shape[1]), np.float32)
    np.add.at(gallery, which, embeddings)
    return unit(gallery), names


def parts(who: Names, order: Names) -> NDArray[np.bool_]:
    """bool (n,): the first half of each person's faces in the given order, which are enrolled; the rest are probes.

    People with one face have no first half.
    """
    first = np.zeros(len(who), bool)
    for name in np.unique(who):
        mine = np.flatnonzero(who == name)
        mine = mine[np.argsort(order[mine], kind="stable")]
        first[mine[: len(mine) // 2]] = True
    return first


def pairs(who: Names, most: int = 200_000, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(rows, columns): pairs of different people's faces, at most so many, drawn at random."""
    rows, columns = np.nonzero(np.triu(who[:, None] != who[None], 1))
    if len(rows) > most:
        chosen = np.random.default_rng(seed).choice(len(rows), most, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    return rows, columns


def similarities(embeddings: F32, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> F32:
    """float32 (m,): cosines of the pairs."""
    return np.asarray(np.einsum("ij,ij->i", embeddings[rows], embeddings[columns]), np.float32)


def _accepted(genuine: F32, impostors: F32, who: Names) -> dict[float, Rate | None]:
    out: dict[float, Rate | None] = {}
    for far in FARS:
        threshold = threshold_at(impostors, far)
        out[far] = None if threshold is None else rate(genuine > threshold, who)
    return out


def _most_frequent(who: Names) -> float:
    if not len(who):
        return 0.0
    return float(np.unique(who, return_counts=True)[1].max() / len(who))
