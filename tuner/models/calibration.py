"""Calibrated probabilities: from the logits of a network, or of an ensemble, by a line fitted on validation.

Platt's method (1999): probability = sigmoid(slope * logit + intercept), fitted by maximum likelihood to labels that are
smoothed by Laplace's rule. Of the methods that `benchmarks/calibration.py` measures, none has a smaller Brier score on
unseen sequences, and it is the best where validation is small. A line keeps the order of the sequences, so AUROC and
average precision stay as they are.

A sequence is called positive from the probability on at which the Matthews correlation, computed from the calibrated
probabilities of validation themselves, is expected to be largest: on unseen sequences this does better than .5, where
the classes are uneven, and better than the threshold that validation's own labels choose, where these are few. NumPy
alone is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.errors import MetricError

FORMAT = "tuner-calibration-1"
THRESHOLD = 0.5  # where nothing tells which is better
_STEPS = 100  # Newton's; it takes about 6
_CLOSE = 1e-10  # of the gradient

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Logits -> probabilities, for each task; probability = sigmoid(slope * logit + intercept).

    Parameters
    ----------
    slope, intercept : tuple of float
        One value a task; a slope is 0 or more.
    threshold : tuple of float
        Calibrated probability from which on a sequence is called positive, one value a task.
    positives, negatives : tuple of int
        Validation sequences of each class that the line was fitted to, one value a task. Where a class is missing
        nothing was fitted: slope 1 and intercept 0 leave the network's own probabilities.

    Raises
    ------
    MetricError
        The tuples are empty or differ in length, or a value is not finite or out of its range.
    """

    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    threshold: tuple[float, ...]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]

    def __post_init__(self) -> None:
        columns = (self.slope, self.intercept, self.threshold, self.positives, self.negatives)
        if not self.slope or len({len(column) for column in columns}) != 1:
            raise MetricError(
                f"a calibration needs one value a task; got {[len(column) for column in columns]} values."
            )
        if not all(math.isfinite(v) for column in columns for v in column):
            raise MetricError("a calibration holds a value that is not finite.")
        if min(self.slope) < 0 or min(self.positives) < 0 or min(self.negatives) < 0:
            raise MetricError("a calibration holds a negative slope or count.")
        if not all(0 <= t <= 1 for t in self.threshold):
            raise MetricError(f"a threshold is a probability in [0, 1]; got {self.threshold}.")

    @property
    def fitted(self) -> tuple[bool, ...]:
        """Whether a line was fitted, for each task: validation held both classes."""
        return tuple(min(pair) > 0 for pair in zip(self.positives, self.negatives, strict=True))

    def probability(self, logits: npt.ArrayLike) -> FloatArray:
        """Compute calibrated probabilities.

        Parameters
        ----------
        logits : array-like, shape=(..., n_tasks), or any shape where there is one task
            Of a network, or the mean over the networks of an ensemble and over both strands: what `fit_calibration`
            was given.

        Returns
        -------
        np.ndarray, same shape, float64
            Probability of the positive class among sequences mixed as those of validation are.

        Raises
        ------
        MetricError
            The last axis is not that of the tasks, or a logit is NaN.
        """
        z = np.asarray(logits, dtype=np.float64)
        tasks = len(self.slope)
        if tasks > 1 and (z.ndim == 0 or z.shape[-1] != tasks):
            raise MetricError(f"logits have shape {z.shape}; expected (..., {tasks}), one column a task.")
        if np.isnan(z).any():
            raise MetricError(f"{int(np.isnan(z).sum())} of {z.size} logits are NaN; their model diverged.")
        slope, intercept = (np.array(v) if tasks > 1 else np.float64(v[0]) for v in (self.slope, self.intercept))
        # An infinite logit of slope 0 says nothing, and would be NaN.
        return _sigmoid(slope * np.clip(z, -1e300, 1e300) + intercept)

    def positive(self, logits: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Decide which sequences are positive: their probability is at or above the threshold of the task.

        Arguments and errors are those of `probability`.
        """
        limit = np.array(self.threshold) if len(self.threshold) > 1 else np.float64(self.threshold[0])
        return np.asarray(self.probability(logits) >= limit)

    def to_dict(self) -> dict[str, Any]:
        """Write it as plain values, which JSON keeps exactly."""
        names = ("slope", "intercept", "threshold", "positives", "negatives")
        return {"format": FORMAT, **{name: list(getattr(self, name)) for name in names}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` returned.

        Raises
        ------
        MetricError
            It is of another format, or damaged.
        """
        if values.get("format") != FORMAT:
            raise MetricError(f"a calibration of format {values.get('format')!r}; expected {FORMAT!r}.")
        try:
            slope, intercept, threshold = (tuple(map(float, values[n])) for n in ("slope", "intercept", "threshold"))
            positives, negatives = (tuple(map(int, values[n])) for n in ("positives", "negatives"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise MetricError(f"a stored calibration cannot be read ({error!r}).") from error
        return cls(slope, intercept, threshold, positives, negatives)


def fit_calibration(labels: npt.ArrayLike, logits: npt.ArrayLike) -> Calibration:
    """Fit a line from logits to log-odds, task by task, on validation sequences.

    Parameters
    ----------
    labels : array-like, shape=(n,) or (n, n_tasks), 0 or 1
        True classes of validation.
    logits : array-like, same shape
        Of one network, or the mean over the networks of an ensemble; over both strands where predictions are.

    Returns
    -------
    Calibration
        Always finite. Where the logits separate the classes, the smoothed labels bound the slope. Logits that are all
        alike, or that rank positives below negatives, get slope 0: the probability is the share of positives. A task
        with one class keeps slope 1 and intercept 0.

    Raises
    ------
    MetricError
        Shapes differ, there are no sequences, a label is neither 0 nor 1, or a logit is not finite.
    """
    y, z = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    if y.shape != z.shape or y.ndim not in (1, 2) or y.size == 0:
        raise MetricError(f"labels have shape {y.shape} and logits {z.shape}; expected both (n,) or both (n, n_tasks).")
    if not ((y == 0) | (y == 1)).all():
        raise MetricError("labels must be 0 or 1.")
    if not np.isfinite(z).all():
        raise MetricError(f"{int((~np.isfinite(z)).sum())} of {z.size} logits are not finite; their model diverged.")
    y, z = y.reshape(len(y), -1) == 1, z.reshape(len(z), -1)
    lines = [_line(one, own) for one, own in zip(y.T, z.T, strict=True)]
    positives = tuple(int(n) for n in y.sum(axis=0))
    likely = [_sigmoid(slope * own + intercept) for (slope, intercept), own in zip(lines, z.T, strict=True)]
    return Calibration(
        slope=tuple(slope for slope, _ in lines),
        intercept=tuple(intercept for _, intercept in lines),
        threshold=tuple(
            best_threshold(p, p) if 0 < m < len(y) else THRESHOLD for p, m in zip(likely, positives, strict=True)
        ),
        positives=positives,
        negatives=tuple(len(y) - n for n in positives),
    )


def _line(positive: npt.NDArray[np.bool_], logits: FloatArray) -> tuple[float, float]:
    """Slope and intercept of one task."""
    m = int(positive.sum())
    n = len(positive) - m
    if not (m and n):
        return 1.0, 0.0
    # Laplace's rule: an unseen positive is one with (m + 1) / (m + 2), Platt 1999 (section 2.2).
    target = np.where(positive, (m + 1) / (m + 2), 1 / (n + 2))
    share = math.log(target.mean() / (1 - target.mean()))
    middle, spread = float(logits.mean()), float(np.ptp(logits))
    if not spread > 1e-12 * max(1.0, float(np.abs(logits).max())):
        return 0.0, share
    x = (logits - middle) / spread
    slope, shift = _newton(x, target, share)
    if slope <= 0:
        return 0.0, share
    return slope / spread, shift - slope * middle / spread


def _newton(x: FloatArray, target: FloatArray, share: float) -> tuple[float, float]:
    """Maximum likelihood of a logistic regression on one variable, whose targets lie inside (0, 1)."""
    columns = np.stack([x, np.ones_like(x)])  # (2, n)
    weights = np.array([0.0, share])
    loss = _loss(columns, target, weights)
    for _ in range(_STEPS):
        p = _sigmoid(weights @ columns)
        gradient = columns @ (p - target) / len(x)
        if np.abs(gradient).max() < _CLOSE:
            break
        curvature = (columns * (p * (1 - p))) @ columns.T / len(x) + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (found := _loss(columns, target, weights - size * step)) > loss and size > 1e-8:
            size /= 2
        if found >= loss:
            break
        weights, loss = weights - size * step, found
    return float(weights[0]), float(weights[1])


def _loss(columns: FloatArray, target: FloatArray, weights: FloatArray) -> float:
    z = weights @ columns
    return float(np.mean(np.logaddexp(0.0, z) - target * z))


def _sigmoid(z: FloatArray) -> FloatArray:
    """1 / (1 + exp(-z)) without overflow."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, small) / (1 + small))


def best_threshold(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Find the threshold with the largest Matthews correlation, half way between two neighbouring probabilities.

    Parameters
    ----------
    labels : array-like, shape=(n,), in [0, 1]
        Classes; or their probabilities, for the threshold that is expected to be the best.
    probabilities : array-like, shape=(n,)
        Of the same sequences.

    Returns
    -------
    float
        `THRESHOLD` where there is one class or one probability.
    """
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-p, kind="stable")
    cut = np.flatnonzero(np.diff(p[order]) < 0)  # called positive: those up to here
    m, n = float(y.sum()), float((1 - y).sum())
    if not (m > 0 and n > 0 and len(cut)):
        return THRESHOLD
    called = cut + 1.0
    tp = np.cumsum(y[order])[cut]
    mcc = (tp * n - (called - tp) * m) / np.sqrt(called * m * n * (m + n - called))
    best = cut[int(np.argmax(mcc))]
    return float((p[order][best] + p[order][best + 1]) / 2)
