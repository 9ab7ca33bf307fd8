"""How sure a score is: bootstrap intervals over sequences, paired differences, DeLong's standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.errors import MetricError, unknown
from tuner.models.metrics import FloatArray, Ranked, as_tasks, auroc, per_task, rank

# Draws are weighted in blocks of this many cells (8 bytes each), so memory stays near 100 MB.
_BLOCK_CELLS = 4_000_000


class Interval(NamedTuple):
    """A score, its percentile interval and its standard error over bootstrap draws."""

    estimate: float
    low: float
    high: float
    standard_error: float


def _weighted_counts(
    weights: npt.NDArray[np.float64], labels: npt.NDArray[np.generic], ranked: Ranked
) -> tuple[FloatArray, FloatArray]:
    """Weight of positives and negatives at or above each distinct score, per draw: (draws, groups)."""
    ordered = weights[:, ranked.order]
    positive = np.cumsum(ordered * labels[ranked.order].astype(np.float64), axis=1)[:, ranked.ends]
    negative = np.cumsum(ordered, axis=1)[:, ranked.ends] - positive
    return positive, negative


def _weighted_auroc(true: FloatArray, false: FloatArray) -> FloatArray:
    step = np.diff(false, axis=1, prepend=0.0)
    height = true - np.diff(true, axis=1, prepend=0.0) / 2.0
    return np.asarray(np.sum(step * height, axis=1) / (true[:, -1] * false[:, -1]))


def _weighted_average_precision(true: FloatArray, false: FloatArray) -> FloatArray:
    total = true + false
    # A group that a draw left out entirely adds no recall, so its 0 / 0 may be anything finite.
    precision = true / np.where(total > 0, total, 1.0)
    area = np.sum(np.diff(true, axis=1, prepend=0.0) * precision, axis=1) / true[:, -1]
    return np.asarray(np.where(false[:, -1] > 0, area, np.nan))


_WEIGHTED: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "auroc": _weighted_auroc,
    "average_precision": _weighted_average_precision,
}


def _resampled(n: int, draws: int, seed: int) -> Iterator[FloatArray]:
    """How often each of n sequences occurs in each bootstrap sample, in blocks of draws: (block, n)."""
    generator = np.random.default_rng(seed)
    block = max(1, min(draws, _BLOCK_CELLS // n))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        picks = generator.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _macro_draws(
    name: str,
    labels: npt.NDArray[np.generic],
    members: npt.NDArray[np.generic],
    weights: FloatArray,
    ranked: dict[tuple[int, int], Ranked],
) -> FloatArray:
    """Mean over members and over the tasks with both classes, per draw; NaN where no task has both."""
    values: list[FloatArray] = []
    for member in range(len(members)):
        for task in range(labels.shape[1]):
            if (member, task) not in ranked:
                ranked[member, task] = rank(members[member, :, task])
            counts = _weighted_counts(weights, labels[:, task], ranked[member, task])
            with np.errstate(invalid="ignore"):
                values.append(_WEIGHTED[name](*counts))
    stacked = np.stack(values)
    defined = np.isfinite(stacked)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    count = defined.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def weighted_auroc(labels: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike) -> float | None:
    """AUROC in which each pair of a positive and a negative counts the product of their weights.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    scores : array-like, same shape, or with one more leading axis of models
        Predictions; higher means positive.
    weights : array-like, shape=(n,)
        Of the sequences, 0 or more.

    Returns
    -------
    float or None
        Mean over models and over the tasks that have both classes among the sequences with weight; None without any.

    Raises
    ------
    MetricError
        Shapes differ, a weight is negative or NaN, or a score is NaN.
    """
    y, members = _members(labels, scores)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (len(y),) or not (w >= 0).all():
        raise MetricError(f"expected {len(y)} weights of 0 or more, one a sequence; got shape {w.shape}.")
    (value,) = _macro_draws("auroc", y, members, w[None], {})
    return float(value) if np.isfinite(value) else None


def _summary(estimate: float, draws: FloatArray, confidence: float) -> Interval:
    usable = draws[np.isfinite(draws)]
    if len(usable) < 2:
        raise MetricError("no bootstrap draw holds both classes; the split is too small for an interval.")
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(usable, [tail, 100.0 - tail])
    return Interval(estimate, float(low), float(high), float(np.std(usable, ddof=1)))


def bootstrap_interval(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    name: str = "auroc",
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a macro score over resampled sequences.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    scores : array-like, same shape, or with one more leading axis of models
        Predictions; higher means positive. Scores of several models are averaged, not their predictions.
    name : str
        ``"auroc"`` or ``"average_precision"``.
    draws : int
        Bootstrap samples of n sequences with replacement; all tasks of a sequence stay together.
    confidence : float
        Mass between the two ends.
    seed : int
        Seed of the resampling; the same seed and n give the same samples.

    Returns
    -------
    Interval
        The score of all sequences, the interval's ends, and the standard deviation over draws.

    Raises
    ------
    MetricError
        If no task has both classes, or a score is NaN.
    """
    if name not in _WEIGHTED:
        raise MetricError(unknown("bootstrapped score", name, _WEIGHTED))
    y, members = _members(labels, scores)
    ranked: dict[tuple[int, int], Ranked] = {}
    values = [_macro_draws(name, y, members, w, ranked) for w in _resampled(len(y), draws, seed)]
    estimate = float(np.mean([per_task(name, y, member).macro for member in members]))
    return _summary(estimate, np.concatenate(values), confidence)


def _members(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """Labels (n, n_tasks) and scores (models, n, n_tasks) of one model or several."""
    label_shape, array = np.asarray(labels).shape, np.asarray(scores)
    stacked = array if array.ndim == len(label_shape) + 1 else array[None]
    if len(stacked) == 0:
        raise MetricError("no model to score.")
    pairs = [as_tasks(labels, member) for member in stacked]
    return pairs[0][0], np.stack([member for _, member in pairs])


def paired_auroc_difference(
    labels: npt.ArrayLike,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of (mean AUROC of models a) - (mean AUROC of models b) on the same resampled sequences.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    scores_a, scores_b : array-like, shape of labels, or with one more leading axis of models
        Predictions of one model, or of several whose AUROCs are averaged (the members are scored one by
        one: this is no ensemble).

    Returns
    -------
    Interval
        The difference on all sequences; its interval and standard error over draws. A lower end above 0
        says that a ranks these sequences better than b; it does not cover the training seeds.

    Raises
    ------
    MetricError
        If shapes do not fit, no task has both classes, or a score is NaN.
    """
    y, first = _members(labels, scores_a)
    sides = [first, _members(labels, scores_b)[1]]
    estimate = float(
        np.mean([auroc(y, member) for member in sides[0]]) - np.mean([auroc(y, member) for member in sides[1]])
    )
    caches: tuple[dict[tuple[int, int], Ranked], ...] = ({}, {})
    values = []
    for weights in _resampled(len(y), draws, seed):
        a, b = (_macro_draws("auroc", y, side, weights, cache) for side, cache in zip(sides, caches, strict=True))
        values.append(a - b)
    return _summary(estimate, np.concatenate(values), confidence)


def delong_standard_error(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Standard error of one task's AUROC by DeLong et al. (1988), in the fast form of Sun & Xu (2014).

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, 1), 0 or 1
        True classes of one task.
    scores : array-like, same shape
        Predictions; higher means positive.

    Raises
    ------
    MetricError
        If there is more than one task, or fewer than two sequences of a class.
    """
    from scipy.stats import rankdata  # slow to import

    y, s = as_tasks(labels, scores)
    if y.shape[1] != 1:
        raise MetricError(f"DeLong's standard error is of one task; these are {y.shape[1]}.")
    rank(s[:, 0])  # refuses NaN
    positive, negative = s[y[:, 0] == 1, 0], s[y[:, 0] == 0, 0]
    m, n = len(positive), len(negative)
    if min(m, n) < 2:
        raise MetricError(f"DeLong's standard error needs two sequences of each class; got {m} and {n}.")
    ranks = rankdata(np.concatenate([positive, negative]))
    # Fraction of the other class that each sequence beats, ties one half.
    above = (ranks[:m] - rankdata(positive)) / n
    below = 1.0 - (ranks[m:] - rankdata(negative)) / m
    return float(np.sqrt(np.var(above, ddof=1) / m + np.var(below, ddof=1) / n))
