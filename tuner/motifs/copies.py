"""Filters that show one motif are not independent: how many filters a layer is worth.

Layers hold copies: the same motif at another offset or on the other strand. They match together or not at all, so a
share of matching filters varies like one of fewer filters. Two filters are copies if Tomtom finds them as similar as a
filter and a known motif that match: E <= .01, counted over the gated filters of the layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.motifs.screen import SIGNIFICANT_E
from tuner.motifs.tomtom import tomtom


def similarity(ppms: Sequence[np.ndarray], background: Sequence[np.ndarray]) -> NDArray[np.float64]:
    """Compare every filter with every other one.

    Parameters
    ----------
    ppms : sequence of np.ndarray, shape=(4, width)
        Trimmed matrices.
    background : sequence of np.ndarray, shape=(4, width)
        Motifs of the database: a layer of copies has too few different columns for Tomtom's null distribution.

    Returns
    -------
    np.ndarray, shape=(n, n)
        Tomtom's p, the smaller of both directions; 0 on the diagonal.
    """
    count = len(ppms)
    if not count:
        return np.zeros((0, 0))
    p_values = tomtom(ppms, [*ppms, *background]).p_value[:, :count]
    smaller: NDArray[np.float64] = np.minimum(p_values, p_values.T)
    np.fill_diagonal(smaller, 0.0)
    return smaller


def copies(p_values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Group filters that are copies of one another, directly or through others.

    Parameters
    ----------
    p_values : np.ndarray, shape=(n, n)
        From `similarity`.

    Returns
    -------
    np.ndarray, shape=(n,)
        Number of each filter's group, from 0.
    """
    count = len(p_values)
    alike = p_values * count <= SIGNIFICANT_E
    groups = np.full(count, -1, dtype=np.int64)
    found = 0
    for first in range(count):
        if groups[first] >= 0:
            continue
        waiting = [first]
        while waiting:
            item = waiting.pop()
            if groups[item] < 0:
                groups[item] = found
                waiting.extend(np.flatnonzero(alike[item] & (groups < 0)).tolist())
        found += 1
    return groups


def effective_number(groups: NDArray[np.int64], size: int) -> float:
    """How many independent filters a layer is worth: its size divided by the design effect of its groups (Kish 1965).

    Parameters
    ----------
    groups : np.ndarray, shape=(n_gated,)
        From `copies`.
    size : int
        Filters that a share divides by; all but the gated ones stand alone.

    Returns
    -------
    float
        ``size**2 / sum(m**2)`` over groups of m filters: `size` if no filter has a copy, 1 if all are copies of one.
    """
    sizes = np.bincount(groups) if len(groups) else np.zeros(0)
    return size**2 / (float((sizes**2).sum()) + size - len(groups))
