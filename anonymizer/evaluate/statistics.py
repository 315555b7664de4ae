"""Rates, thresholds and intervals. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Names = NDArray[Any]
"""(n,) names of identities, or numbers that stand for them."""

ROUNDS = 1000
"""Resamplings of a bootstrap."""

PER_FAR = 3
"""A false accept rate is only set where so many impostor pairs would exceed it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean, a ratio or a quantile. count: on how many values, identities: of how many identities, it rests. low,
    high: its 95 % interval, None where there is one identity alone.

    Intervals come from resampling identities (Efron's percentile bootstrap): faces of one person are not independent.
    """

    value: float
    count: int
    identities: int
    low: float | None = None
    high: float | None = None


def threshold_at(impostors: NDArray[np.floating], far: float) -> float | None:
    """The score that at most a share ``far`` of the impostor scores exceeds; None where they are too few to say."""
    if len(impostors) * far < PER_FAR:
        return None
    return float(np.quantile(impostors, 1 - far, method="higher"))


def rate(values: NDArray[Any], who: Names, seed: int = 0) -> Rate | None:
    """The mean of values (n,), none below 0 and none above 1 where they are shares.

    Where all values are 0 or all are 1 resampling would say that nothing is uncertain; the exact binomial bound
    (Clopper and Pearson 1934) over identities is given then. None where there are no values.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        return None
    mean, people = float(values.mean()), len(np.unique(who))
    if people > 1 and mean in (0.0, 1.0) and bool((values == mean).all()):
        bound = _never(people)
        return Rate(mean, len(values), people, *((0.0, bound) if mean == 0 else (1 - bound, 1.0)))
    return ratio(values, np.ones(len(values)), who, seed)


def difference(a: NDArray[Any], b: NDArray[Any], who: Names, seed: int = 0) -> Rate | None:
    """The mean of a − b, outcomes (n,) of the same faces: what the one has more often than the other.

    Where no face differs, the bound of ``rate`` on either side. None where there are no values.
    """
    apart = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    if not len(apart):
        return None
    people = len(np.unique(who))
    if people > 1 and not apart.any():
        return Rate(0.0, len(apart), people, -_never(people), _never(people))
    return ratio(apart, np.ones(len(apart)), who, seed)


def ratio(
    upper: NDArray[Any], lower: NDArray[Any], who: Names, seed: int = 0, *, count: int | None = None
) -> Rate | None:
    """The sum of upper (n,) over the sum of lower (n,), which must be above 0; None where there are no values.

    count: what it rests on, where that is not n.
    """
    names, which = np.unique(who, return_inverse=True)
    sums = [np.bincount(which, np.asarray(v, np.float64), len(names)) for v in (upper, lower)]
    if not len(upper) or sums[1].sum() <= 0:
        return None
    value, people = float(sums[0].sum() / sums[1].sum()), len(names)
    count = len(upper) if count is None else count
    if people == 1:
        return Rate(value, count, people)
    picks = _picks(people, seed)
    low, high = _interval((picks @ sums[0]) / np.maximum(picks @ sums[1], 1e-12))
    return Rate(value, count, people, low, high)


def events(counts: NDArray[Any], exposure: NDArray[Any], who: Names) -> Rate | None:
    """Events a unit of exposure, counts (n,) over exposure (n,); with no event, the exact Poisson bound."""
    found = ratio(counts, exposure, who)
    if found is None or found.value > 0:
        return found
    return replace(found, low=0.0, high=-math.log(0.025) / float(np.sum(exposure)))


def quantile(values: NDArray[Any], share: float, *who: Names, seed: int = 0) -> Rate | None:
    """The value (n,) below which a share of them lies. who: of whom each value is; twice for pairs of people.

    The interval weighs values by how often their people were drawn. None where there are no values.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        return None
    names, which = np.unique(np.concatenate(who), return_inverse=True)
    value = float(np.quantile(values, share))
    if len(names) == 1:
        return Rate(value, len(values), 1)
    order = np.argsort(values, kind="stable")
    parts = which.reshape(len(who), -1)[:, order]
    drawn = []
    for weights in _picks(len(names), seed)[: ROUNDS // 4]:
        reached = np.cumsum(np.prod([weights[part] for part in parts], 0))
        if reached[-1] > 0:
            drawn.append(values[order[np.searchsorted(reached, share * reached[-1])]])
    return Rate(value, len(values), len(names), *_interval(np.array(drawn)))


def correlation(a: F64, b: F64, who: Names, seed: int = 0) -> Rate | None:
    """Pearson's correlation of a and b (n,), each less its own mean within an identity, pooled.

    None where one of them never changes.
    """
    if not len(a):
        return None
    names, which = np.unique(who, return_inverse=True)
    counts = np.bincount(which)
    x, y = (v - (np.bincount(which, v) / counts)[which] for v in (np.asarray(a, np.float64), np.asarray(b, np.float64)))
    sums = np.stack([np.bincount(which, v) for v in (x * y, x * x, y * y)])

    def pooled(weights: F64) -> F64:
        xy, xx, yy = (weights @ row for row in sums)
        return np.asarray(xy / np.sqrt(np.maximum(xx * yy, 1e-18)))

    if min(sums[1].sum(), sums[2].sum()) < 1e-12:
        return None
    value, people = float(pooled(np.ones((1, len(names))))[0]), len(names)
    if people == 1:
        return Rate(value, len(a), people)
    low, high = _interval(pooled(_picks(people, seed)))
    return Rate(value, len(a), people, low, high)


def _never(people: int) -> float:
    """The share that may be while none of so many people showed it: Clopper and Pearson's bound."""
    return float(1 - 0.025 ** (1 / people))


def _picks(people: int, seed: int) -> F64:
    """float64 (ROUNDS, people): how often each identity is drawn in each round, with replacement."""
    return np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=ROUNDS).astype(np.float64)


def _interval(values: F64) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
