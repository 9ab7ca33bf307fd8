"""What one would use after a study: the ensemble of a trial's models, calibrated, scored on test task by task.

The ensemble predicts the mean logit of its models (and of both strands). Where a trial has one model, that is what one
would use, and nothing is called an ensemble. Leads over baselines are paired over the test sequences; those of a family
of tasks are also given with Bonferroni's adjustment, by which alone a task is said to be predicted better.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tuner.models.calibration import Calibration, fit_calibration
from tuner.models.decisions import Decisions, score_decisions
from tuner.models.intervals import Interval, auroc_interval, bootstrap_interval, paired_auroc_difference

LEVEL = 0.05  # of a family of statements
SINGLE = ("brier", "expected_error", "mcc", "recall", "precision", "false_positive_rate")
VALIDATION, FOLDS = "validation", "folds"  # what probabilities are calibrated on

Labels = np.ndarray


class TaskResult(NamedTuple):
    """One task of a predictor; scores are None where test holds one class of it.

    Attributes
    ----------
    auroc, average_precision : Interval or None
        With 95 % intervals over test sequences.
    auroc_adjusted : Interval or None
        With the interval adjusted for the number of tasks.
    leads : dict of str to Interval
        Baseline -> paired difference of AUROC with its 95 % interval.
    leads_adjusted : dict of str to Interval
        The same, adjusted for the number of tasks.
    decisions : Decisions
        Of the calibrated probabilities.
    single : dict of str to float
        Mean over the single models, each calibrated by itself: `SINGLE`, where they are defined.
    """

    auroc: Interval | None
    average_precision: Interval | None
    auroc_adjusted: Interval | None
    leads: dict[str, Interval]
    leads_adjusted: dict[str, Interval]
    decisions: Decisions
    single: dict[str, float]

    @property
    def above_chance(self) -> bool:
        """Whether the whole adjusted interval of the AUROC is above one half."""
        return self.auroc_adjusted is not None and self.auroc_adjusted.low > 0.5

    @property
    def better(self) -> bool:
        """Whether it is better than chance and than every baseline: each interval lies above (intersection-union)."""
        leads = self.leads_adjusted.values()
        return self.above_chance and bool(leads) and all(lead.low > 0 for lead in leads)


class PredictorScores(NamedTuple):
    """What one would use: the ensemble of a trial's models, or its only model.

    Attributes
    ----------
    models : int
        Networks whose mean logit it is.
    auroc, average_precision : Interval
        Mean over tasks, with 95 % intervals over test sequences.
    matched : Interval or None
        AUROC on the part of test that is matched for GC and CpG content.
    leads : dict of str to Interval
        Baseline -> paired difference of mean AUROC with its 95 % interval.
    tasks : dict of str to TaskResult
        Every task, also where there is only one.
    calibration : Calibration
        Logits of the predictor -> probabilities.
    calibrated_on : str
        ``validation``, or ``folds`` where each model of a cross-validation scored its own held-out fold.
    """

    models: int
    auroc: Interval
    average_precision: Interval
    matched: Interval | None
    leads: dict[str, Interval]
    tasks: dict[str, TaskResult]
    calibration: Calibration
    calibrated_on: str

    @property
    def tested(self) -> dict[str, TaskResult]:
        """The tasks that test holds both classes of."""
        return {name: task for name, task in self.tasks.items() if task.auroc is not None}

    @property
    def better(self) -> list[str]:
        """Tasks that it predicts better than chance and every baseline, adjusted for their number."""
        return [name for name, task in self.tasks.items() if task.better]

    @property
    def name(self) -> str:
        """``ensemble of 5 models``, or ``model``."""
        return f"ensemble of {self.models} models" if self.models > 1 else "model"


class Calibrated(NamedTuple):
    """Calibrations of a predictor and of each of its models, and what they were fitted on."""

    whole: Calibration
    single: tuple[Calibration, ...]
    on: str


def calibrate(held_out: Sequence[tuple[Labels, np.ndarray]], *, folds: bool) -> Calibrated:
    """Fit the calibrations of models and of their ensemble.

    Parameters
    ----------
    held_out : sequence of (np.ndarray, np.ndarray), both shape=(n, n_tasks)
        Labels and logits of each model, on sequences that its weights were not fitted to.
    folds : bool
        Whether every model has its own sequences, a fold of a cross-validation. No sequence is then unseen by all
        models, so the ensemble has the line of the single models' pooled predictions.
    """
    single = tuple(fit_calibration(labels, logits) for labels, logits in held_out)
    if len(held_out) == 1:
        return Calibrated(single[0], single, FOLDS if folds else VALIDATION)
    if folds:
        labels, logits = (np.concatenate(part) for part in zip(*held_out, strict=True))
        return Calibrated(fit_calibration(labels, logits), single, FOLDS)
    mean = np.mean([logits for _, logits in held_out], axis=0)
    return Calibrated(fit_calibration(held_out[0][0], mean), single, VALIDATION)


def family_confidence(tasks: int) -> float:
    """Confidence of each interval of a family of tasks, so that all of them hold together (Bonferroni)."""
    return 1 - LEVEL / max(1, tasks)


def compare_task(
    labels: Labels, logits: np.ndarray, baselines: Mapping[str, np.ndarray], confidence: float
) -> tuple[Interval, dict[str, Interval]]:
    """AUROC of one task, and its paired leads over the baselines; all arrays have shape=(n,)."""
    leads = {
        name: paired_auroc_difference(labels, logits, scores, confidence=confidence)
        for name, scores in baselines.items()
    }
    return auroc_interval(labels, logits, confidence=confidence), leads


def score_predictor(
    tasks: Sequence[str],
    labels: Labels,
    logits: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    calibrated: Calibrated,
    *,
    matched: Interval | None = None,
    seed: int = 0,
) -> PredictorScores:
    """Score the mean logit of models on test.

    Parameters
    ----------
    tasks : sequence of str
        Names of the columns.
    labels : np.ndarray, shape=(n, n_tasks), 0 or 1
        Of test.
    logits : np.ndarray, shape=(models, n, n_tasks)
        Of test.
    baselines : mapping of str to np.ndarray, shape=(n, n_tasks)
        Their scores of test.
    calibrated : Calibrated
        Fitted on other sequences.
    matched : Interval, optional
        AUROC of the mean logit on the matched part.
    seed : int
        Of bootstraps.
    """
    mean = logits.mean(axis=0)
    both = [0 < labels[:, t].sum() < len(labels) for t in range(len(tasks))]
    whole = calibrated.whole.probability(mean).reshape(mean.shape)
    single = [c.probability(one).reshape(one.shape) for c, one in zip(calibrated.single, logits, strict=True)]
    found: dict[str, TaskResult] = {}
    for t, task in enumerate(tasks):
        y, z = labels[:, t], mean[:, t]
        told = {name: scores[:, t] for name, scores in baselines.items()}
        nothing: tuple[None, dict[str, Interval]] = (None, {})
        auroc, leads = compare_task(y, z, told, family_confidence(1)) if both[t] else nothing
        adjusted, leads_adjusted = compare_task(y, z, told, family_confidence(sum(both))) if both[t] else nothing
        found[task] = TaskResult(
            auroc=auroc,
            average_precision=bootstrap_interval(y, z, "average_precision", seed=seed) if both[t] else None,
            auroc_adjusted=adjusted,
            leads=leads,
            leads_adjusted=leads_adjusted,
            decisions=score_decisions(y, whole[:, t], calibrated.whole.threshold[t], seed=seed),
            single=_means(
                [
                    score_decisions(y, p[:, t], c.threshold[t], seed=seed)
                    for p, c in zip(single, calibrated.single, strict=True)
                ]
            ),
        )
    one = next(iter(found.values()))
    several = len(tasks) > 1
    return PredictorScores(
        models=len(logits),
        auroc=auroc_interval(labels, mean) if several or one.auroc is None else one.auroc,
        average_precision=bootstrap_interval(labels, mean, "average_precision", seed=seed)
        if several or one.average_precision is None
        else one.average_precision,
        matched=matched,
        leads={name: paired_auroc_difference(labels, mean, s) for name, s in baselines.items()},
        tasks=found,
        calibration=calibrated.whole,
        calibrated_on=calibrated.on,
    )


def _means(rows: Sequence[Decisions]) -> dict[str, float]:
    """Mean of each score over the models that have it."""
    found = {}
    for name in SINGLE:
        values = [v.estimate if isinstance(v, Interval) else v for v in (getattr(row, name) for row in rows)]
        known = [v for v in values if v is not None]
        if known:
            found[name] = float(np.mean(known))
    return found


def predictor_values(value: Any) -> Any:
    """Write a predictor as JSON values: named tuples as objects, NaN as null."""
    if isinstance(value, Calibration):
        return value.to_dict()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: predictor_values(inner) for name, inner in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: predictor_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [predictor_values(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_predictor(values: Mapping[str, Any] | None) -> PredictorScores | None:
    """Read what `predictor_values` wrote; None where an earlier version stored none."""
    return None if values is None else typing.cast(PredictorScores, _read(PredictorScores, values))


def _read(hint: Any, value: Any) -> Any:
    if hint is Calibration:
        return Calibration.from_dict(value)
    if typing.get_origin(hint) is types.UnionType:
        inner = next(one for one in typing.get_args(hint) if one is not types.NoneType)
        return None if value is None else _read(inner, value)
    if typing.get_origin(hint) is dict:
        return {name: _read(typing.get_args(hint)[1], inner) for name, inner in value.items()}
    if typing.get_origin(hint) is tuple:
        return tuple(_read(typing.get_args(hint)[0], inner) for inner in value)
    if hasattr(hint, "_fields"):
        hints = typing.get_type_hints(hint)
        return hint(**{name: _read(hints[name], value[name]) for name in hint._fields})
    return math.nan if value is None and hint is float else value
