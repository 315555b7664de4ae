"""Rates, thresholds and intervals. Pure."""

from __future__ import annotations

from dataclasses import dataclass
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
    """A mean. count: on how many values, identities: of how many identities, it rests. low, high: its 95 % interval,
    None where there is one identity alone."""

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
    """The mean of values (n,), with an interval from resampling identities: faces of one person are not independent.

    Efron's percentile bootstrap. Where all values are 0 or all are 1 it would say that nothing is uncertain; the exact
    binomial bound (Clopper and Pearson 1934) over identities is given then. None where there are no values.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        return None
    names, which = np.unique(who, return_inverse=True)
    sums, counts = np.bincount(which, values), np.bincount(which)
    people, mean = len(names), float(values.mean())
    if people == 1:
        return Rate(mean, len(values), people)
    if mean in (0.0, 1.0) and bool((values == mean).all()):
        bound = 1 - 0.025 ** (1 / people)
        low, high = (0.0, bound) if mean == 0 else (1 - bound, 1.0)
    else:
        picks = _picks(people, seed)
        low, high = _interval((picks @ sums) / (picks @ counts))
    return Rate(mean, len(values), people, low, high)


def correlation(a: F64, b: F64, who: Names, seed: int = 0) -> Rate | None:
    """Pearson's correlation of a and b (n,), each less its own mean within an identity, pooled.

    The interval is that of ``rate``. None where one of them never changes.
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


def _picks(people: int, seed: int) -> F64:
    """float64 (ROUNDS, people): how often each identity is drawn in each round, with replacement."""
    return np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=ROUNDS).astype(np.float64)


def _interval(values: F64) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
