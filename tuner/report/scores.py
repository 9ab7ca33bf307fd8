"""Scores, intervals and curves of one reported model, as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.results.confirmation import Standing


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """One baseline, compared with the first reported model.

    Attributes
    ----------
    name : str
        ``gc``, ``cpg``, ``2-mer``, ``6-mer`` or ``best PWM``.
    valid_auroc : float or None
        AUROC on validation.
    test_auroc, matched : float or None
        AUROC on test, and on its part matched for GC and CpG.
    lead, low, high : float or None
        By how much the first reported model is ahead on test, with its paired 95 % interval.
    standing : Standing or None
        Of the model compared with the baseline; None if test was not opened.
    detail : str
        What was fitted.
    """

    name: str
    valid_auroc: float | None
    test_auroc: float | None = None
    matched: float | None = None
    lead: float | None = None
    low: float | None = None
    high: float | None = None
    standing: Standing | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over n retrained models with its 95 % interval; both ends are NaN where n < 3."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends for a figure; the mean if there is no interval."""
        return (self.mean, self.mean) if math.isnan(self.low) else (self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class TestScores:
    """Test results of one model (mean over its confirmation models), opened on record.

    Attributes
    ----------
    auroc, low, high : float
        With the 95 % interval over sequences.
    average_precision, average_precision_low, average_precision_high : float
        Likewise.
    ensemble : float
        AUROC of the mean logit.
    matched, matched_gc, matched_cpg : float or None
        AUROC on the part matched by both, by GC alone, by CpG alone.
    matched_sequences : int
        Size of the first.
    per_model : tuple of float
        AUROC of each model.
    per_task : dict of str to float or None
        Task -> mean AUROC of the models; None where the task has one class.
    models, sequences, positives : int
        How many; positives of the report's task.
    baselines : tuple of BaselineRow
        Each beside this model.
    """

    __test__ = False  # pytest collects no dataclass

    auroc: float
    low: float
    high: float
    average_precision: float
    average_precision_low: float
    average_precision_high: float
    ensemble: float
    matched: float | None
    matched_gc: float | None
    matched_cpg: float | None
    matched_sequences: int
    per_model: tuple[float, ...]
    per_task: dict[str, float | None]
    models: int
    sequences: int
    positives: int
    baselines: tuple[BaselineRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Roc:
    """ROC curve of the report's task on test, by the models' mean logit."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """Precision-recall curve of the report's task on test, by the models' mean logit; recall ascends."""

    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CalibrationCurve:
    """Occupied bins of predicted probability on test, their observed frequency, and two errors."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    counts: tuple[int, ...]
    error: float
    brier: float
