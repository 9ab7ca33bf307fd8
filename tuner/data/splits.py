"""Splits sequences into training, validation and test.

The functions can keep groups of rows together; `duplicate_groups` makes the groups that keep copies of a sequence, on
either strand, in one split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import SPLITS, canonical
from tuner.errors import DataError
from tuner.genome.sequence import Codes

Index = NDArray[np.int64]

_RARE = 20  # rows of one pattern of labels that are too few to have shares of 10 %


def duplicate_groups(codes: Codes) -> Index:
    """Number sequences so that copies of a sequence, on either strand, have the same number.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8

    Returns
    -------
    numpy.ndarray, shape=(n,), int64
    """
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    return _numbered(canonical(codes))


def merge_groups(first: NDArray[Any], second: NDArray[Any]) -> Index:
    """Number rows so that rows linked by either grouping, through any chain, have the same number.

    Parameters
    ----------
    first, second : numpy.ndarray, shape=(n,)
        Two groupings of the same rows.

    Returns
    -------
    numpy.ndarray, shape=(n,), int64
    """
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    a, b = _numbered(first), _numbered(second)
    n_a, n_b = a.max(initial=-1) + 1, b.max(initial=-1) + 1
    # Rows are the edges of a bipartite graph between the groups of the two groupings.
    graph = coo_array((np.ones(len(a)), (a, n_a + b)), shape=(n_a + n_b, n_a + n_b))
    component = connected_components(graph, directed=False)[1]
    return np.asarray(component[a], dtype=np.int64)


def stratified(
    labels: NDArray[Any],
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    *,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> dict[str, Index]:
    """Split rows so that every split has the label patterns in the same proportions.

    Parameters
    ----------
    labels : numpy.ndarray, shape=(n,) or (n, n_tasks)
        Rows with equal labels form a stratum.
    fractions : sequence of float
        Shares of train, valid and test, of train and valid alone, or of train alone, which sum to 1.
    seed : int
        The same seed gives the same split.
    groups : numpy.ndarray, shape=(n,), optional
        Rows of one group (a chromosome, a gene family, copies of a sequence) stay together. A group belongs to the
        stratum of its first row.

    Returns
    -------
    dict of str to numpy.ndarray
        Sorted row numbers of ``train``, ``valid`` and ``test``, or of those for which there is a share.

    Raises
    ------
    DataError
        If there are not one to three fractions above 0 that sum to 1.
    """
    whole = all(part > 0 for part in fractions) and abs(sum(fractions) - 1) <= 1e-6  # false for NaN too
    if not 1 <= len(fractions) <= len(SPLITS) or not whole:
        raise DataError(
            f"split fractions {tuple(fractions)}: expected three numbers above 0 for train, valid and test "
            f"that sum to 1."
        )
    part = _deal(labels, fractions, seed, groups)
    return {name: np.flatnonzero(part == i) for i, name in enumerate(SPLITS[: len(fractions)])}


def balanced(labels: NDArray[Any], fractions: Sequence[float], *, seed: int, groups: NDArray[Any]) -> dict[str, Index]:
    """Split rows in large groups of mixed labels so that every split has the label patterns in the same proportions.

    `stratified` takes a group for rows of one pattern, which is right for copies and too coarse for relatives. Here
    groups of several rows are dealt first, the largest at the head, and single rows then fill what each pattern lacks.

    Parameters
    ----------
    labels, fractions, seed, groups
        As in `stratified`.

    Returns
    -------
    dict of str to numpy.ndarray
        Sorted row numbers of ``train``, ``valid`` and ``test``.
    """
    pattern = _numbered(np.asarray(labels).reshape(len(labels), -1))
    rare = np.bincount(pattern) < _RARE
    pattern = _numbered(np.where(rare[pattern], -1, pattern))  # rare patterns are one stratum
    group = _numbered(groups)
    size = np.bincount(group)
    rows = np.argsort(group, kind="stable")
    begins = np.cumsum(size) - size
    order = np.lexsort((np.random.default_rng(seed).random(len(size)), -size))
    share = np.asarray(fractions, dtype=np.float64)
    total = np.zeros(pattern.max(initial=-1) + 1)
    dealt = np.zeros((len(share), len(total)))
    part_of_group = np.zeros(len(size), dtype=np.int64)
    for unit in order:
        own = pattern[rows[begins[unit] : begins[unit] + size[unit]]]
        kinds, count = (own, np.ones(1)) if len(own) == 1 else np.unique(own, return_counts=True)
        total[kinds] += count
        lack = share[:, None] * total[kinds] - dealt[:, kinds]
        part = int(np.argmax(np.round(lack @ count, 6)))  # rounded: the order of a sum must not decide
        dealt[part, kinds] += count
        part_of_group[unit] = part
    part_of_row = part_of_group[group]
    return {name: np.flatnonzero(part_of_row == i) for i, name in enumerate(SPLITS[: len(share)])}


def k_fold(labels: NDArray[Any], k: int, seed: int = 0, groups: NDArray[Any] | None = None) -> Index:
    """Distribute rows over `k` stratified folds.

    Parameters
    ----------
    labels : numpy.ndarray, shape=(n,) or (n, n_tasks)
    k : int
        At least 2.
    seed : int
        The same seed gives the same folds.
    groups : numpy.ndarray, shape=(n,), optional
        Rows of one group share a fold.

    Returns
    -------
    numpy.ndarray, shape=(n,), int64
        Fold of each row, 0..k-1, in which the row is held out.

    Raises
    ------
    DataError
        If `k` is below 2 or above the number of rows.
    """
    if not 2 <= k <= len(labels):
        raise DataError(f"{k} folds of {len(labels)} sequences: expected between 2 and {len(labels)}.")
    return _deal(labels, [1 / k] * k, seed, groups)


def sample_rows(labels: NDArray[Any], n: int, seed: int = 0) -> Index:
    """Draw a representative sample of rows: at random, with each pattern of labels in its proportion.

    Data may be sorted by label, strength or chromosome, so the first rows are not representative.

    Parameters
    ----------
    labels : numpy.ndarray, shape=(rows,) or (rows, n_tasks)
        Rows with equal labels form a stratum.
    n : int
        At least 1. If the sample lacks a class of the task whose classes are most equal in size, and `n` is 2 or more,
        one row of that class replaces the last one drawn.
    seed : int
        The same seed draws the same rows.

    Returns
    -------
    numpy.ndarray, shape=(min(n, rows),), int64
        Distinct row numbers, sorted.
    """
    rows = np.asarray(labels).reshape(len(labels), -1)
    if len(rows) <= n:
        return np.arange(len(rows), dtype=np.int64)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(rows)), _numbered(rows)))  # one stratum after another, each shuffled
    places = ((np.arange(n) + rng.random()) * (len(rows) / n)).astype(np.int64)  # evenly spaced, len(rows) / n apart
    drawn = order[np.minimum(places, len(rows) - 1)]
    positives = rows.sum(axis=0, dtype=np.int64)
    task = int(np.argmin(np.abs(2 * positives - len(rows))))
    for label in (0, 1):
        if n > 1 and label in rows[:, task] and label not in rows[drawn, task]:
            drawn[-1] = rng.choice(np.flatnonzero(rows[:, task] == label))
    return np.sort(drawn)


def _deal(labels: NDArray[Any], fractions: Sequence[float], seed: int, groups: NDArray[Any] | None) -> Index:
    """Assign groups, stratum by stratum in random order, each to the part that is furthest below its share."""
    rows = np.asarray(labels).reshape(len(labels), -1)
    group = np.arange(len(rows)) if groups is None else _numbered(groups)
    first, size = np.unique(group, return_index=True, return_counts=True)[1:]
    stratum = _numbered(rows)[first]
    rng = np.random.default_rng(seed)
    # The order of the strata is random too: in a fixed order, rounding would always favour the same labels.
    order = np.lexsort((rng.random(len(first)), rng.permutation(stratum.max(initial=0) + 1)[stratum]))
    share = np.asarray(fractions, dtype=np.float64)
    dealt = np.zeros(len(share))
    part_of_unit = np.zeros(len(first), dtype=np.int64)
    total = 0.0
    for unit in order:
        total += size[unit]
        part = int(np.argmax(share * total - dealt))
        dealt[part] += size[unit]
        part_of_unit[unit] = part
    return part_of_unit[group]


def _numbered(values: NDArray[Any]) -> Index:
    """Number distinct values (or rows) from 0, in sorted order."""
    values = np.asarray(values)
    axis = 0 if values.ndim > 1 else None
    return np.asarray(np.unique(values, axis=axis, return_inverse=True)[1], dtype=np.int64).reshape(-1)
