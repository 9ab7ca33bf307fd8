"""What calibrated probabilities are worth on unseen sequences: reliability, Brier score, and the calls at a threshold.

Proportions have Wilson's interval (1927). A test set has about as many positives as negatives, a genome does not: the
precision that the same recall and false-positive rate give at 1 positive to 10 or to 100 negatives stands beside that
of the test set. Its interval joins both of Wilson's by the method of variance estimates recovery (Donner & Zou 2012).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.errors import MetricError
from tuner.models import metrics
from tuner.models.intervals import Interval, normal_quantile

PREVALENCES: Mapping[str, int] = {"1:10": 10, "1:100": 100}  # name -> negatives for one positive
DRAWS = 4000  # of the interval of a Matthews correlation


class Decisions(NamedTuple):
    """Scores of the calibrated probabilities of one task; None where the sequences leave a score undefined.

    Attributes
    ----------
    sequences, positives : int
        Of the split.
    threshold : float
        Probability from which on a sequence is called positive.
    brier : Interval
        Mean squared difference between probability and label.
    base_rate_brier : float
        The same for the share of positives of this split, given to every sequence.
    expected_error : float
        Mean distance between probability and frequency over ten bins, weighted by their sequences.
    mcc : Interval or None
        Matthews correlation coefficient of the calls.
    recall, false_positive_rate, precision : Interval or None
        Share of the positives, and of the negatives, that is called positive; share of the calls that is right.
    precision_at : dict of str to Interval or None
        ``1:10`` and ``1:100``: precision where there are 10 or 100 negatives for one positive.
    predicted, observed, observed_low, observed_high : tuple of float
        Reliability: mean probability of each occupied bin, and its share of positives with both ends.
    counts : tuple of int
        Sequences of each bin.
    """

    sequences: int
    positives: int
    threshold: float
    brier: Interval
    base_rate_brier: float
    expected_error: float
    mcc: Interval | None
    recall: Interval | None
    false_positive_rate: Interval | None
    precision: Interval | None
    precision_at: dict[str, Interval | None]
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    observed_low: tuple[float, ...]
    observed_high: tuple[float, ...]
    counts: tuple[int, ...]


def score_decisions(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float, *, seed: int = 0
) -> Decisions:
    """Score the calibrated probabilities of one task.

    Parameters
    ----------
    labels : array-like, shape=(n,), 0 or 1
        True classes.
    probabilities : array-like, shape=(n,), in [0, 1]
        Calibrated elsewhere.
    threshold : float
        Chosen elsewhere; a probability at or above it calls a sequence positive.
    seed : int
        Of the draws for the interval of the Matthews correlation.

    Raises
    ------
    MetricError
        Shapes differ, there are no sequences, or a probability is outside [0, 1].
    """
    bins = metrics.calibration(labels, probabilities)
    y, p = np.asarray(labels) == 1, np.asarray(probabilities, dtype=np.float64)
    if y.ndim != 1:
        raise MetricError(f"labels have shape {y.shape}; decisions are scored task by task, shape (n,).")
    called, m = p >= threshold, int(y.sum())
    n = len(y) - m
    tp, fp = int((called & y).sum()), int((called & ~y).sum())
    recall, rate = proportion_interval(tp, m), proportion_interval(fp, n)
    ends = [proportion_interval(round(share * c), c) for share, c in zip(bins.observed, bins.counts, strict=True)]
    return Decisions(
        sequences=len(y),
        positives=m,
        threshold=threshold,
        brier=_mean_interval((p - y) ** 2),
        base_rate_brier=m * n / len(y) ** 2,
        expected_error=bins.expected_error,
        mcc=_mcc_interval(tp, m, fp, n, seed),
        recall=recall,
        false_positive_rate=rate,
        precision=proportion_interval(tp, tp + fp),
        precision_at={name: precision_at(recall, rate, ratio) for name, ratio in PREVALENCES.items()},
        predicted=bins.predicted,
        observed=bins.observed,
        observed_low=tuple(e.low for e in ends if e is not None),
        observed_high=tuple(e.high for e in ends if e is not None),
        counts=bins.counts,
    )


def proportion_interval(successes: int, of: int) -> Interval | None:
    """Wilson's 95 % interval of a proportion; None of nothing."""
    if of < 1:
        return None
    share, z2 = successes / of, normal_quantile() ** 2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = math.sqrt(z2 * (share * (1 - share) / of + z2 / (4 * of * of))) / (1 + z2 / of)
    # At 0 and 1 rounding would leave the estimate outside.
    low, high = min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
    return Interval(share, low, high, math.sqrt(share * (1 - share) / of))


def precision_at(recall: Interval | None, rate: Interval | None, negatives: float) -> Interval | None:
    """Precision where there are so many negatives for one positive, from recall and false-positive rate.

    precision = recall / (recall + negatives * rate). It is a rising function of the ratio recall / rate, whose interval
    is that of Donner & Zou (2012), equation 5, from the intervals of both.

    Parameters
    ----------
    recall, rate : Interval or None
        Of independent sequences: positives and negatives.
    negatives : float
        For one positive.

    Returns
    -------
    Interval or None
        With a standard error of NaN; None where a class is missing, or nothing is called positive.
    """
    if recall is None or rate is None or recall.estimate + rate.estimate == 0:
        return None
    (r, l1, u1), (f, l2, u2) = recall[:3], rate[:3]
    # Their equation, times its conjugate: nothing is divided by 0 where the rate is 0.
    root = math.sqrt(max(0.0, (r * f) ** 2 - l1 * (2 * r - l1) * u2 * (2 * f - u2)))
    least = l1 * (2 * r - l1) / (r * f + root) if l1 > 0 else 0.0
    root = math.sqrt(max(0.0, (r * f) ** 2 - u1 * (2 * r - u1) * l2 * (2 * f - l2)))
    most = (r * f + root) / (l2 * (2 * f - l2)) if l2 > 0 else math.inf
    value, low, high = (_precision(x, negatives) for x in (r / f if f else math.inf, least, most))
    return Interval(value, min(value, low), max(value, high), math.nan)


def _precision(ratio: float, negatives: float) -> float:
    return 1.0 if math.isinf(ratio) else ratio / (ratio + negatives)


def _mean_interval(values: npt.NDArray[np.float64]) -> Interval:
    """Mean of squares of probabilities, in [0, 1]."""
    mean = float(values.mean())
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    half = normal_quantile() * error
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half), error)


def _mcc_interval(tp: int, m: int, fp: int, n: int, seed: int) -> Interval | None:
    """Matthews correlation; its interval is that of draws of recall and false-positive rate (Jeffreys' prior)."""
    if not (m and n):
        return None
    rng = np.random.default_rng(seed)
    recall = rng.beta(tp + 0.5, m - tp + 0.5, DRAWS)
    rate = rng.beta(fp + 0.5, n - fp + 0.5, DRAWS)
    value = float(_mcc(np.array([tp / m]), np.array([fp / n]), m, n)[0])
    drawn = _mcc(recall, rate, m, n)
    low, high = (float(v) for v in np.percentile(drawn, [2.5, 97.5]))
    return Interval(value, min(value, low), max(value, high), float(drawn.std(ddof=1)))


def _mcc(recall: npt.NDArray[np.float64], rate: npt.NDArray[np.float64], m: int, n: int) -> npt.NDArray[np.float64]:
    """Of m positives and n negatives; 0 where all calls are alike, as scikit-learn has it."""
    share = (recall * m + rate * n) / (m + n)
    spread = share * (1 - share)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (recall - rate) * math.sqrt(m * n) / ((m + n) * np.sqrt(spread))
    return np.asarray(np.where(spread > 0, value, 0.0))
