"""The cheapest one-to-one pairing of two sets, given the cost of every pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_FORBIDDEN = 1e6


def assign(cost: F64) -> list[tuple[int, int]]:
    """Pairs (row, column) of the optimal assignment; pairs whose cost is infinite are never made.

    cost: float64 (n, m), entries below 1e3 or infinite. As many pairs as possible, then the least sum.
    """
    possible = np.isfinite(cost)
    # Most rows have one possible column that no other row wants: only the contested ones need solving.
    clear = possible & (possible.sum(1) == 1)[:, None] & (possible.sum(0) == 1)[None]
    contested = possible & ~clear
    rows, columns = np.flatnonzero(contested.any(1)), np.flatnonzero(contested.any(0))
    pairs = [(int(row), int(column)) for row, column in np.argwhere(clear)]
    pairs += [(int(rows[i]), int(columns[j])) for i, j in _solve(cost[np.ix_(rows, columns)])]
    return sorted(pairs)


def _solve(cost: F64) -> list[tuple[int, int]]:
    """Shortest augmenting paths with potentials, after R. Jonker and A. Volgenant, 'A shortest augmenting path
    algorithm for dense and sparse linear assignment problems' (1987); O(n² m), columns vectorised."""
    if cost.shape[0] > cost.shape[1]:
        return [(row, column) for column, row in _solve(cost.T)]
    n, m = cost.shape
    finite = np.where(np.isfinite(cost), cost, _FORBIDDEN)
    row_price, column_price = np.zeros(n), np.zeros(m)
    row_of = np.full(m, -1)
    for start in range(n):
        # Dijkstra over columns: `reach` is the least reduced cost at which each can be reached from `start`.
        reach, came_from, done = np.full(m, np.inf), np.full(m, -1), np.zeros(m, bool)
        row, column, so_far = start, -1, 0.0
        while row >= 0:
            reduced = so_far + finite[row] - row_price[row] - column_price
            better = ~done & (reduced < reach)
            reach[better], came_from[better] = reduced[better], column
            column = int(np.argmin(np.where(done, np.inf, reach)))
            so_far, done[column] = float(reach[column]), True
            row = int(row_of[column])
        # `column` is free. Prices of everything passed on the way change so that reduced costs stay non-negative.
        passed = done & (row_of >= 0)
        row_price[start] += so_far
        row_price[row_of[passed]] += so_far - reach[passed]
        column_price[done] -= so_far - reach[done]
        while column >= 0:
            before = int(came_from[column])
            row_of[column] = row_of[before] if before >= 0 else start
            column = before
    pairs = [(int(row), column) for column, row in enumerate(row_of) if row >= 0]
    return [pair for pair in pairs if np.isfinite(cost[pair])]
