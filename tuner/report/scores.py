"""Scores, intervals and curves of one reported model, as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.models.intervals import Interval
from tuner.results.confirmation import Standing
from tuner.results.predictor_scores import PredictorScores
from tuner.results.statement import Statement, stand


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
        By how much what one would use of the first reported trial (`TestScores.used`) is ahead on test, with its paired
        95 % interval.
    standing : Standing or None
        Of the model compared with the baseline; None if test was not opened.
    detail : str
        What was fitted.
    mean_lead, mean_low, mean_high : float or None
        The lead of the mean of the single models, where `lead` is that of their ensemble.
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
    mean_lead: float | None = None
    mean_low: float | None = None
    mean_high: float | None = None


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
    predictor : PredictorScores or None
        What one would use; None in results of a version before it, where the mean of the models leads.
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
    predictor: PredictorScores | None = None

    @property
    def used(self) -> Interval:
        """AUROC of what one would use, over all tasks: of the ensemble, else of the only model."""
        found = self.predictor
        return Interval(self.auroc, self.low, self.high, math.nan) if found is None else found.auroc

    @property
    def used_precision(self) -> Interval:
        """Its average precision."""
        if self.predictor is not None:
            return self.predictor.average_precision
        ends = self.average_precision_low, self.average_precision_high
        return Interval(self.average_precision, *ends, math.nan)

    @property
    def used_matched(self) -> float | None:
        """Its AUROC on the matched part."""
        found = self.predictor
        return self.matched if found is None or found.matched is None else found.matched.estimate

    @property
    def used_name(self) -> str:
        """What it is: ``ensemble of 5 models``, ``mean of 5 models``, or nothing where there is one."""
        if self.models < 2:
            return ""
        return f"{'mean' if self.predictor is None else 'ensemble'} of {self.models} models"

    @property
    def statement(self) -> Statement:
        """Where it stands beside chance and every baseline, over all tasks."""
        leads = {b.name: (b.low, b.high) for b in self.baselines if b.low is not None and b.high is not None}
        return stand(self.used.low, leads)


@dataclass(frozen=True, kw_only=True)
class Roc:
    """ROC curve of the report's task on test, by the models' mean logit, and the area under it."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    area: float | None = None


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """Precision-recall curve of the report's task on test, by the models' mean logit, and its average precision.

    Recall ascends.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    area: float | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationCurve:
    """Occupied bins of predicted probability on test, their observed frequency, and two errors.

    Attributes
    ----------
    predicted, observed : tuple of float
        Mean probability and share of positives of each bin.
    counts : tuple of int
        Sequences of each.
    error, brier : float
        Expected error and Brier score.
    low, high : tuple of float
        95 % intervals of `observed`; empty in results of a version that calibrated nothing.
    uncalibrated_error, uncalibrated_brier : float or None
        The same two for the sigmoid of the mean logit.
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    counts: tuple[int, ...]
    error: float
    brier: float
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    uncalibrated_error: float | None = None
    uncalibrated_brier: float | None = None
