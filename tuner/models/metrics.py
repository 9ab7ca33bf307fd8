"""Scores of predictions: AUROC, average precision, trapezoid AUPR, accuracy, calibration.

Every function takes labels and scores of one task, shape=(n,), or of several, shape=(n, n_tasks). Scores
may be logits, probabilities, or any other numbers that are higher for likelier positives. A task whose labels are all
alike has no AUROC and no precision-recall curve: it is left out of the mean over tasks and named in a note.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.errors import MetricError, unknown

FloatArray = npt.NDArray[np.float64]


class Ranked(NamedTuple):
    """Sequences of one task in descending order of score, divided into groups of equal scores.

    Attributes
    ----------
    order : numpy.ndarray, shape=(n,), int
        Indices of the sequences, highest score first.
    ends : numpy.ndarray, shape=(n_groups,), int
        Position in `order` of the last sequence of each group of equal scores.
    """

    order: npt.NDArray[np.intp]
    ends: npt.NDArray[np.intp]


def rank(scores: npt.ArrayLike) -> Ranked:
    """Sort the scores of one task and find the ties.

    Raises
    ------
    MetricError
        If a score is NaN.
    """
    values = np.asarray(scores)
    if np.isnan(values).any():
        raise MetricError(f"{int(np.isnan(values).sum())} of {values.size} scores are NaN; their model diverged.")
    order = np.argsort(values)[::-1]
    ordered = values[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    return Ranked(order, ends)


def _curve(labels: npt.NDArray[np.generic], scores: npt.NDArray[np.generic]) -> tuple[FloatArray, FloatArray]:
    """Numbers of positives and negatives at or above each distinct score, after a leading 0."""
    if scores.dtype != np.float32:
        ranked = rank(scores)
        positive, ends = np.cumsum(labels[ranked.order].astype(np.float64)), ranked.ends
    else:
        # Score and label in one integer: sorting numbers takes a third of the time of sorting their indices.
        keys = np.sort(_order_bits(scores) << 1 | (labels == 1))[::-1]
        positive = np.cumsum(keys & 1, dtype=np.float64)
        ends = np.append(np.flatnonzero((keys[1:] ^ keys[:-1]) > 1), len(keys) - 1)
    positive = positive[ends]
    return np.append(0.0, positive), np.append(0.0, ends + 1.0 - positive)


def _order_bits(scores: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    """Map float32 scores to integers of the same order; equal scores get equal integers."""
    if np.isnan(scores).any():
        rank(scores)  # raises the error for NaN
    bits = (scores.astype(np.float32) + np.float32(0.0)).view(np.int32)  # -0 becomes +0
    # The bits of negative floats count away from 0.
    ordered: npt.NDArray[np.int64] = (bits ^ (bits >> 31 & 0x7FFFFFFF)).astype(np.int64)
    return (ordered + (1 << 31)).astype(np.uint64)


def _auroc(labels: npt.NDArray[np.generic], scores: npt.NDArray[np.generic]) -> float:
    true, false = _curve(labels, scores)
    # The trapezoid over tied groups counts each tie as one half, as the Mann-Whitney U does.
    area = np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2.0
    return float(area / (true[-1] * false[-1]))


def _average_precision(labels: npt.NDArray[np.generic], scores: npt.NDArray[np.generic]) -> float:
    true, false = _curve(labels, scores)
    precision = true[1:] / (true[1:] + false[1:])
    return float(np.sum(np.diff(true) * precision) / true[-1])


def _trapezoid_aupr(labels: npt.NDArray[np.generic], scores: npt.NDArray[np.generic]) -> float:
    true, false = _curve(labels, scores)
    # The curve starts at recall 0 with precision 1, as scikit-learn draws it.
    precision = np.append(1.0, true[1:] / (true[1:] + false[1:]))
    return float(np.sum(np.diff(true) * (precision[1:] + precision[:-1])) / 2.0 / true[-1])


SCORES: dict[str, Callable[[npt.NDArray[np.generic], npt.NDArray[np.generic]], float]] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
    "trapezoid_aupr": _trapezoid_aupr,
}


class PerTask(NamedTuple):
    """One score per task and their mean.

    Attributes
    ----------
    values : tuple of float or None
        None where all labels of the task are alike.
    macro : float
        Mean over the tasks that have a value.
    notes : tuple of str
        The reason for each task without a value.
    """

    values: tuple[float | None, ...]
    macro: float
    notes: tuple[str, ...]


def as_tasks(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """Reshape labels and scores to shape=(n, n_tasks).

    Raises
    ------
    MetricError
        If the shapes differ, there are no sequences, or a label is neither 0 nor 1.
    """
    y, s = np.asarray(labels), np.asarray(scores)
    if y.shape != s.shape or y.ndim not in (1, 2):
        raise MetricError(f"labels have shape {y.shape} and scores {s.shape}; expected both (n,) or both (n, n_tasks).")
    if y.size == 0:
        raise MetricError("there are no sequences to score.")
    if not ((y == 0) | (y == 1)).all():
        raise MetricError("labels must be 0 or 1.")
    return y.reshape(len(y), -1), s.reshape(len(s), -1)


def per_task(name: str, labels: npt.ArrayLike, scores: npt.ArrayLike, tasks: Sequence[str] | None = None) -> PerTask:
    """Score each task on its own.

    Parameters
    ----------
    name : str
        A key of `SCORES`.
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    scores : array-like, same shape
        Predictions; higher means positive.
    tasks : sequence of str, optional
        Names used in the notes.

    Returns
    -------
    PerTask
        Values in [0, 1], their mean, and a note for every task left out.

    Raises
    ------
    MetricError
        If no task has both classes, shapes differ, or a score is NaN.
    """
    if name not in SCORES:
        raise MetricError(unknown("score", name, SCORES))
    y, s = as_tasks(labels, scores)
    values: list[float | None] = []
    notes: list[str] = []
    for task, (own, predicted) in enumerate(zip(np.ascontiguousarray(y.T), np.ascontiguousarray(s.T), strict=True)):
        positives = int(own.sum())
        if 0 < positives < len(y):
            values.append(SCORES[name](own, predicted))
        else:
            values.append(None)
            label = tasks[task] if tasks is not None else str(task)
            notes.append(f"task {label}: all {len(y)} labels are {int(positives > 0)}, so it has no {name}")
    defined = [value for value in values if value is not None]
    if not defined:
        raise MetricError(f"{name} is undefined: {'; '.join(notes)}. Use a split that holds both classes.")
    return PerTask(tuple(values), float(np.mean(defined)), tuple(notes))


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve, ties counted one half; mean over the tasks that have both classes.

    See `per_task` for arguments and errors.
    """
    return per_task("auroc", labels, scores).macro


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Step-wise area under the precision-recall curve; mean over the tasks that have both classes.

    See `per_task` for arguments and errors.
    """
    return per_task("average_precision", labels, scores).macro


def trapezoid_aupr(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Trapezoid area under the precision-recall curve, as Koo & Ploenzke (2021) report it.

    It interpolates between thresholds and so lies above `average_precision` for coarse scores. See
    `per_task` for arguments and errors.
    """
    return per_task("trapezoid_aupr", labels, scores).macro


def micro(name: str, labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Score all tasks as one, with every (sequence, task) pair as an example, as Keras' AUC metrics do.

    See `per_task` for arguments and errors.
    """
    y, s = as_tasks(labels, scores)
    return per_task(name, y.ravel(), s.ravel()).macro


def accuracy(labels: npt.ArrayLike, logits: npt.ArrayLike) -> float:
    """Fraction of (sequence, task) pairs that are classified correctly; a logit above 0 predicts class 1.

    A task with only one class has an accuracy like any other. See `per_task` for arguments and errors.
    """
    y, z = as_tasks(labels, logits)
    rank(z.ravel())  # raises the error for NaN
    return float(np.mean((z.astype(np.float64) > 0) == (y == 1)))


def cross_entropy(labels: npt.ArrayLike, logits: npt.ArrayLike) -> float:
    """Mean binary cross-entropy of logits over sequences and tasks, in nats."""
    y, z = as_tasks(labels, logits)
    return float(np.mean(np.logaddexp(0.0, z.astype(np.float64)) - y * z.astype(np.float64)))


class Calibration(NamedTuple):
    """How well predicted probabilities agree with observed frequencies.

    Attributes
    ----------
    expected_error : float
        Expected calibration error (Guo et al. 2017): |observed - predicted| of each bin, averaged over all predictions.
    brier : float
        Brier score: mean squared difference between probability and label.
    predicted, observed : tuple of float
        Mean probability and fraction of positives in each occupied bin.
    counts : tuple of int
        Number of predictions in each occupied bin.
    """

    expected_error: float
    brier: float
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    counts: tuple[int, ...]


def calibration(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = 10) -> Calibration:
    """Compare probabilities with observed frequencies in bins of equal width, for all tasks together.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes.
    probabilities : array-like, same shape, in [0, 1]
        Sigmoid of the logits.
    bins : int
        Number of bins over [0, 1]; empty ones are left out.

    Raises
    ------
    MetricError
        If a probability is outside [0, 1], as logits are, or shapes differ.
    """
    y, s = as_tasks(labels, probabilities)
    label, p = y.ravel().astype(np.float64), s.ravel().astype(np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise MetricError("calibration needs probabilities in [0, 1]; apply the sigmoid to logits first.")
    which = np.minimum((p * bins).astype(np.intp), bins - 1)
    count = np.bincount(which, minlength=bins)
    used = count > 0
    predicted = np.bincount(which, p, bins)[used] / count[used]
    observed = np.bincount(which, label, bins)[used] / count[used]
    error = float(np.sum(count[used] * np.abs(observed - predicted)) / len(p))
    brier = float(np.mean((p - label) ** 2))
    return Calibration(error, brier, tuple(predicted.tolist()), tuple(observed.tolist()), tuple(count[used].tolist()))
