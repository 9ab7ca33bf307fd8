"""Confidence intervals of scores, which cover the choice of the sequences that are scored.

The variance of an AUROC is DeLong's; that of other scores comes from a bootstrap. Intervals are symmetric in the logit
of the score: a percentile bootstrap of 60 sequences contains an AUROC of .98 in .86 of cases instead of .95
(`benchmarks/claims.py intervals`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.data.sizes import auroc_interval as sized_interval
from tuner.errors import MetricError, unknown
from tuner.models.metrics import FloatArray, Ranked, as_tasks, per_task, rank

# Bootstrap samples are processed in blocks of this many cells (8 bytes each), so memory stays near 100 MB.
_BLOCK_CELLS = 4_000_000


class Interval(NamedTuple):
    """A score or a difference of two scores, both ends of its interval, and its standard error."""

    estimate: float
    low: float
    high: float
    standard_error: float


def _weighted_counts(
    weights: npt.NDArray[np.float64], labels: npt.NDArray[np.generic], ranked: Ranked
) -> tuple[FloatArray, FloatArray]:
    """Weight of the positives and negatives at or above each distinct score in each draw: (draws, groups)."""
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
    # A group that a draw leaves out entirely adds no recall, so any finite number may replace its 0 / 0.
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
    """Mean over models and over the tasks with both classes, for each draw; NaN if no task has both."""
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
    """AUROC in which each pair of a positive and a negative is weighted with the product of their weights.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    scores : array-like, same shape, or with one more leading axis of models
        Predictions; higher means positive.
    weights : array-like, shape=(n,)
        Weights of the sequences, 0 or more.

    Returns
    -------
    float or None
        Mean over models and over the tasks that have both classes among the sequences with a weight above 0; None if
        no task has both.

    Raises
    ------
    MetricError
        If shapes differ, a weight is negative or NaN, or a score is NaN.
    """
    y, members = _members(labels, scores)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (len(y),) or not (w >= 0).all():
        raise MetricError(
            f"expected {len(y)} weights of 0 or more, one per sequence; got an array of shape {w.shape}, lowest "
            f"{w.min(initial=math.inf):g}."
        )
    (value,) = _macro_draws("auroc", y, members, w[None], {})
    return float(value) if np.isfinite(value) else None


def logit_interval(estimate: float, standard_error: float, factor: float) -> tuple[float, float]:
    """Both ends of an interval that is symmetric in the logit of the score.

    Parameters
    ----------
    estimate, standard_error : float
        The score, in (0, 1), and its standard error.
    factor : float
        Number of standard errors to each side.
    """
    half = factor * standard_error / (estimate * (1 - estimate))
    middle = math.log(estimate / (1 - estimate))
    return 1 / (1 + math.exp(half - middle)), 1 / (1 + math.exp(-half - middle))


def normal_quantile(confidence: float = 0.95) -> float:
    """Number of standard errors to each side of a two-sided interval of a normally distributed estimate."""
    return _quantile(math.inf, confidence)


def _quantile(freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit  # slow to import

    return float(stdtrit(max(1.0, freedom), (1 + confidence) / 2))


def bootstrap_interval(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    name: str = "average_precision",
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of a score that is averaged over tasks, by resampling sequences.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    scores : array-like, same shape, or with one more leading axis of models
        Predictions; higher means positive. Scores of several models are averaged, not their predictions.
    name : str
        Name of the score: ``"average_precision"`` or ``"auroc"``.
    draws : int
        Number of bootstrap samples of n sequences with replacement; all tasks of a sequence stay together.
    confidence : float
        Confidence level of the interval.
    seed : int
        Seed of the resampling; the same seed and n give the same samples.

    Returns
    -------
    Interval
        The score of all sequences, an interval that is symmetric in its logit, and the standard deviation over draws.
        If the score is 0 or 1, the ends of the interval are percentiles of the draws.

    Raises
    ------
    MetricError
        If no task has both classes, or a score is NaN.
    """
    if name not in _WEIGHTED:
        raise MetricError(unknown("bootstrapped score", name, _WEIGHTED))
    y, members = _members(labels, scores)
    ranked: dict[tuple[int, int], Ranked] = {}
    values = np.concatenate([_macro_draws(name, y, members, w, ranked) for w in _resampled(len(y), draws, seed)])
    estimate = float(np.mean([per_task(name, y, member).macro for member in members]))
    usable = values[np.isfinite(values)]
    if len(usable) < 2:
        raise MetricError("no bootstrap draw holds both classes; the split is too small for an interval.")
    error = float(np.std(usable, ddof=1))
    if not 0 < estimate < 1 or error == 0:
        tail = 50.0 * (1.0 - confidence)
        low, high = np.percentile(usable, [tail, 100.0 - tail])
        return Interval(estimate, float(low), float(high), error)
    return Interval(estimate, *logit_interval(estimate, error, _quantile(math.inf, confidence)), error)


def auroc_interval(labels: npt.ArrayLike, scores: npt.ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Interval of an AUROC averaged over tasks, by the variance of DeLong et al. (1988); symmetric in the logit.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    scores : array-like, same shape, or with one more leading axis of models
        Predictions; higher means positive. AUROCs of several models are averaged, not their predictions.
    confidence : float
        Confidence level of the interval.

    Returns
    -------
    Interval
        The AUROC and its interval. At an AUROC of 0 or 1, where DeLong's variance is 0, it is the score interval by
        Hanley & McNeil's variance.

    Raises
    ------
    MetricError
        If no task has both classes, or a score is NaN.
    """
    y, members = _members(labels, scores)
    estimate, influence, sizes = _influence(y, members)
    error = float(np.sqrt(np.sum(influence**2)))
    if not 0 < estimate < 1 or error == 0:
        return Interval(estimate, *sized_interval(estimate, *sizes), error)
    return Interval(estimate, *logit_interval(estimate, error, _quantile(min(sizes) - 1, confidence)), error)


def _influence(
    y: npt.NDArray[np.generic], members: npt.NDArray[np.generic]
) -> tuple[float, FloatArray, tuple[int, int]]:
    """AUROC averaged over models and tasks, influence of each sequence, and numbers of positives and negatives.

    The squared influences sum to the variance of the AUROC; for one model and one task this is DeLong's variance.
    """
    from scipy.stats import rankdata  # slow to import

    total, values, sizes = np.zeros(len(y)), [], [0, 0]
    for k, member in enumerate(members):
        for task in range(y.shape[1]):
            rank(member[:, task])  # raises the error for NaN
            positive = y[:, task] == 1
            m, n = int(positive.sum()), int((~positive).sum())
            if not (m and n):
                continue
            ranks = rankdata(member[:, task])
            # Fraction of the other class above (below) which each positive (negative) ranks; ties count one half.
            above = (ranks[positive] - rankdata(member[positive, task])) / n
            below = 1.0 - (ranks[~positive] - rankdata(member[~positive, task])) / m
            values.append(float(above.mean()))
            total[positive] += (above - above.mean()) / math.sqrt(m * max(1, m - 1))
            total[~positive] += (below - below.mean()) / math.sqrt(n * max(1, n - 1))
            if k == 0:
                sizes = [sizes[0] + m, sizes[1] + n]
    if not values:
        raise MetricError("no task has both classes; the split is too small for an interval.")
    return float(np.mean(values)), total / len(values), (sizes[0], sizes[1])


def _members(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """Reshape labels to (n, n_tasks), and scores of one or more models to (models, n, n_tasks)."""
    label_shape, array = np.asarray(labels).shape, np.asarray(scores)
    stacked = array if array.ndim == len(label_shape) + 1 else array[None]
    if len(stacked) == 0:
        raise MetricError("no model to score.")
    pairs = [as_tasks(labels, member) for member in stacked]
    return pairs[0][0], np.stack([member for _, member in pairs])


def paired_auroc_difference(
    labels: npt.ArrayLike, scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Interval of (mean AUROC of models a) - (mean AUROC of models b) on the same sequences (DeLong et al. 1988).

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    scores_a, scores_b : array-like, shape of labels, or with one more leading axis of models
        Predictions of one model, or of several models, whose AUROCs are averaged (not their predictions, as in an
        ensemble).
    confidence : float
        Confidence level of the interval.

    Returns
    -------
    Interval
        The difference and its interval. If the lower end is above 0, models a rank such sequences better than models b;
        the interval does not cover training seeds.

    Raises
    ------
    MetricError
        If shapes do not fit, no task has both classes, or a score is NaN.
    """
    y, first = _members(labels, scores_a)
    a, of_a, sizes = _influence(y, first)
    b, of_b, _ = _influence(y, _members(labels, scores_b)[1])
    error = float(np.sqrt(np.sum((of_a - of_b) ** 2)))
    half = _quantile(min(sizes) - 1, confidence) * error
    return Interval(a - b, a - b - half, a - b + half, error)
