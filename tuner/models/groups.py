"""Groups of validation sequences: leaving out each in turn shows how much a metric depends on the sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tuner.errors import MetricError

GROUPS = 40
FEWEST = 10  # smallest number of groups: with 9 degrees of freedom, the 97.5 % quantile of t is 2.26

Metric = Callable[[npt.NDArray[np.generic], npt.NDArray[np.generic]], float]


def group_of(labels: npt.ArrayLike, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Assign sequences to groups, so that every combination of labels is spread evenly over the groups.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks)
        Labels of the sequences.
    seed : int
        Seed of the assignment; the same seed and labels give the same groups.

    Returns
    -------
    np.ndarray, shape=(n,)
        Group of each sequence: a number from 0 to at most 39.
    """
    y = np.asarray(labels)
    y = y.reshape(len(y), -1)
    _, pattern = np.unique(y, axis=0, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(y)), pattern.reshape(-1)))
    found = np.empty(len(y), dtype=np.int64)
    found[order] = np.arange(len(y)) % max(1, min(GROUPS, len(y) // 2))
    return found


def without_each(
    metric: Metric, labels: npt.NDArray[np.generic], logits: npt.NDArray[np.generic]
) -> list[float] | None:
    """Measure predictions without each group of sequences in turn: the values of a grouped jackknife.

    Parameters
    ----------
    metric : callable
        Function that maps labels and logits to a value.
    labels, logits : np.ndarray, shape=(n, n_tasks)
        True classes and predictions of one split.

    Returns
    -------
    list of float or None
        The metric without each group; None if there are too few sequences, or the metric is undefined without a group.
    """
    group = group_of(labels)
    n = int(group.max(initial=0)) + 1
    if n < FEWEST:
        return None
    try:
        values = [float(metric(labels[group != g], logits[group != g])) for g in range(n)]
    except MetricError:
        return None
    return values if np.isfinite(values).all() else None
