"""Pareto dominance: a point dominates another if it is nowhere worse and somewhere better.

Points are arrays of shape (n, n_objectives); larger is better in every column.
"""

from __future__ import annotations

import numpy as np


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Mark the points that no other point dominates.

    Parameters
    ----------
    points : np.ndarray, shape=(n, n_objectives)
        Larger is better.

    Returns
    -------
    np.ndarray, shape=(n,), bool
        Copies of a point of the front are marked too.
    """
    distinct, copies = np.unique(points, axis=0, return_inverse=True)  # in lexicographic order, the smallest first
    kept = np.zeros(len(distinct), dtype=bool)
    # Whatever dominates a point comes after it, and one point of the front does: nothing else is compared.
    for i in reversed(range(len(distinct))):
        kept[i] = not (distinct[kept] >= distinct[i]).all(axis=1).any()
    marked: np.ndarray = kept[copies.reshape(-1)]
    return marked


def pareto_ranks(points: np.ndarray) -> np.ndarray:
    """Number of the front of each point: 0 if no point dominates it, 1 if only points of front 0 do, and so on.

    Parameters
    ----------
    points : np.ndarray, shape=(n, n_objectives)
        Larger is better.

    Returns
    -------
    np.ndarray, shape=(n,), int
    """
    ranks = np.full(len(points), -1)
    rank = 0
    while len(left := np.flatnonzero(ranks < 0)):
        ranks[left[pareto_front(points[left])]] = rank
        rank += 1
    return ranks
