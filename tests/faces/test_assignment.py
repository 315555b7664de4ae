"""The assignment is the best there is: compared with trying them all."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.faces.assignment import assign

costs = st.integers(1, 5).flatmap(
    lambda n: st.integers(1, 5).flatmap(
        lambda m: st.lists(
            st.lists(st.one_of(st.just(np.inf), st.floats(0, 9)), min_size=m, max_size=m), min_size=n, max_size=n
        )
    )
)


def best(cost: np.ndarray) -> tuple[int, float]:
    """Most pairs, then the least sum, over all one-to-one pairings."""
    if cost.shape[0] > cost.shape[1]:
        cost = cost.T
    n, m = cost.shape
    tried = []
    for columns in permutations(range(m), n):
        chosen = [cost[i, c] for i, c in enumerate(columns) if np.isfinite(cost[i, c])]
        tried.append((len(chosen), -sum(chosen)))
    pairs, total = max(tried)
    return pairs, -total


@given(costs)
def test_optimal(rows: list[list[float]]) -> None:
    cost = np.array(rows)
    pairs = assign(cost)
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert all(np.isfinite(cost[p]) for p in pairs)
    count, total = best(cost)
    assert len(pairs) == count
    assert np.isclose(sum(cost[p] for p in pairs), total)


def test_greedy_would_lose() -> None:
    assert assign(np.array([[1.0, 2.0], [1.1, 9.0]])) == [(0, 1), (1, 0)]


def test_empty() -> None:
    assert assign(np.zeros((0, 3))) == assign(np.zeros((2, 0))) == []
