"""What a logit means: where it lies among the validation sequences, and how many negatives reach a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

RATES: Final = (0.01, 0.05, 0.1)
"""False-positive rates on validation negatives for which a predictor has thresholds."""
KEPT: Final = 1001
"""Scores of a class that are kept: all of them up to this number, else so many evenly spaced in rank."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """A logit from which on sequences are called positive.

    Parameters
    ----------
    rate : float
        Largest share of validation negatives that may reach it.
    logit : float or None
        The lowest validation score of a negative that no larger share reaches; None where there are too few
        negatives for the rate.
    recall : float or None
        Share of validation positives that reach it.
    """

    rate: float
    logit: float | None
    recall: float | None


@dataclass(frozen=True, eq=False)
class Reference:
    """Ensemble logits of the validation sequences of one task.

    Parameters
    ----------
    negatives, positives : numpy.ndarray, float64, ascending
        Scores of each class, or `KEPT` of them, evenly spaced in rank.
    n_negatives, n_positives : int
        How many sequences each class has.
    thresholds : tuple of Threshold
        One for each of `RATES`, from all scores.
    """

    negatives: FloatArray
    positives: FloatArray
    n_negatives: int
    n_positives: int
    thresholds: tuple[Threshold, ...]

    @classmethod
    def of(cls, labels: npt.ArrayLike, logits: npt.ArrayLike) -> Reference:
        """Make it from validation labels, 0 or 1, and ensemble logits, both of shape=(n,)."""
        y, z = np.asarray(labels), np.sort(np.asarray(logits, dtype=np.float64))
        y = y[np.argsort(np.asarray(logits, dtype=np.float64), kind="stable")]
        negatives, positives = z[y == 0], z[y == 1]
        limits = tuple(_threshold(rate, negatives, positives) for rate in RATES)
        return cls(_thinned(negatives), _thinned(positives), len(negatives), len(positives), limits)

    def percentiles(self, logits: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Percent of the validation negatives, and of the positives, that score lower; NaN for a class without any."""
        low, high = (_percent_below(kept, logits) for kept in (self.negatives, self.positives))
        return low, high

    def to_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {
            "negatives": {"sequences": self.n_negatives, "logits": self.negatives.tolist()},
            "positives": {"sequences": self.n_positives, "logits": self.positives.tolist()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], thresholds: Sequence[Mapping[str, Any]]) -> Reference:
        """Read what `to_json` wrote, and thresholds with the fields of `Threshold`.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is not that.
        """
        sides = [np.array(values[side]["logits"], dtype=np.float64) for side in ("negatives", "positives")]
        if any(one.ndim != 1 or not np.isfinite(one).all() or (np.diff(one) < 0).any() for one in sides):
            raise ValueError("validation scores are not finite numbers in ascending order")
        limits = tuple(
            Threshold(float(t["rate"]), _number(t["logit"]), _number(t["recall"])) for t in thresholds
        )  # fmt: skip
        counts = [int(values[side]["sequences"]) for side in ("negatives", "positives")]
        return cls(sides[0], sides[1], counts[0], counts[1], limits)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _thinned(ascending: FloatArray) -> FloatArray:
    if len(ascending) <= KEPT:
        return ascending
    return np.asarray(ascending[((np.arange(KEPT) + 0.5) * len(ascending) / KEPT).astype(int)], dtype=np.float64)


def _percent_below(ascending: FloatArray, logits: FloatArray) -> FloatArray:
    if not len(ascending):
        return np.full(np.shape(logits), math.nan)
    return np.asarray(np.searchsorted(ascending, logits, side="left") * (100.0 / len(ascending)), dtype=np.float64)


def _threshold(rate: float, negatives: FloatArray, positives: FloatArray) -> Threshold:
    """The lowest negative score that at most this share of the negatives reaches."""
    most = int(rate * len(negatives) + 1e-9)  # negatives that may reach it
    above = negatives[len(negatives) - most :] if most else negatives[:0]
    if most < len(negatives):
        above = above[above > negatives[len(negatives) - most - 1]]  # without those that equal one too many
    if not len(above):
        return Threshold(rate, None, None)
    logit = float(above[0])
    return Threshold(rate, logit, float((positives >= logit).mean()) if len(positives) else None)
