"""The one door to the test split: score declared models on it, and record that it was opened."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StorageError, StudyError
from tuner.models import metrics
from tuner.models.intervals import Interval, auroc_interval, bootstrap_interval, paired_auroc_difference
from tuner.results.leaderboard import stage_trials
from tuner.results.nulls import is_null
from tuner.results.predictor_scores import PredictorScores, calibrate, score_predictor
from tuner.results.test_predictions import Predictions
from tuner.results.trial_files import stored_baseline, stored_network
from tuner.storage.keys import CONFIRMATION, CONTROLS, FOLDS, OPENINGS, OTHER_OPENINGS, TEST_SCORES
from tuner.storage.records import REMEDY, check_numbers, kept_record
from tuner.storage.storage import FencedStorage

if TYPE_CHECKING:
    from tuner.data.dataset import Dataset, Split
    from tuner.models.baselines import Baseline
    from tuner.storage.artifacts import Artifacts


MODELS, ENSEMBLE = "models", "ensemble"


class Examination(NamedTuple):
    """Test results of one candidate.

    Attributes
    ----------
    trial : int
        Trial number in the search.
    models : int
        Networks scored: its confirmation runs, or the search's own network.
    auroc, average_precision : Interval
        Mean over the models with the 95 % interval over test sequences.
    per_model : list of float
        Each model's test AUROC.
    ensemble : float
        AUROC of the mean logit of the models.
    matched, matched_low, matched_high : float or None
        Mean AUROC on the GC x CpG-matched part of the test split, over every way to choose that part and over the
        tasks, each matched by its own labels; and its 95 % interval. None where the part has under 20 sequences.
    matched_sequences : int
        Size of that part.
    matched_gc, matched_cpg : float or None
        The same for the part matched by GC content alone, by CpG observed/expected alone.
    tasks : dict of str to dict
        Where there are several tasks: each one's positive sequences (`positives`), and the models' mean `auroc` and
        `average_precision` with 95 % intervals (`auroc_low`, `auroc_high`, ...).
    baselines : dict of str to dict
        Baseline -> its test AUROC (`auroc`), on the matched part (`matched`, with the
        models' lead there: `matched_lead`, `matched_low`, `matched_high`), and the paired difference of the
        models' mean to it with its 95 % interval (`lead`, `low`, `high`).
    openings : int
        How often the test split of this study has been opened, this time included; of other data, how often these
        sequences have been scored.
    predictor : PredictorScores or None
        What one would use: the ensemble of the models, or the only one, calibrated; with its leads over the baselines
        and every task. None in results that were stored by a version before it.
    on : dict of str to any, or None
        The data set that was scored, if it is not the study's own: ``name``, ``source``, ``fingerprint``, ``split``,
        ``sequences``, ``copies``, ``test_copies`` and ``notes``, as in `tuner.search.other_data.Prepared`.
    """

    trial: int
    models: int
    auroc: Interval
    average_precision: Interval
    per_model: list[float]
    ensemble: float
    matched: float | None
    matched_low: float | None
    matched_high: float | None
    matched_sequences: int
    matched_gc: float | None
    matched_cpg: float | None
    tasks: dict[str, dict[str, float]]
    baselines: dict[str, dict[str, float]]
    openings: int
    predictor: PredictorScores | None = None
    on: dict[str, Any] | None = None
    related: int | None = None
    memoriser: float | None = None


class Scored(NamedTuple):
    """Test results, and the predictions they were made from.

    Attributes
    ----------
    examination : Examination
        The results.
    logits : np.ndarray, shape=(models, n, n_tasks), float32
        Of every model and test sequence, in the data set's order.
    predictions : Predictions
        Of the mean of the models.
    """

    examination: Examination
    logits: np.ndarray
    predictions: Predictions


def score_test(
    storage: FencedStorage,
    artifacts: Artifacts,
    dataset: Dataset,
    name: str,
    trial: int,
    *,
    device: str,
    when: str,
    seed: int = 0,
    baselines: bool = True,
    validation: Callable[[FrozenTrial], Split] | None = None,
    on: Mapping[str, Any] | None = None,
    columns: Sequence[int] | None = None,
    training: Split | None = None,
) -> Scored:
    """Score a trial's models and every baseline of the study on the test split, and keep the predictions.

    Other data are scored in the same way; their opening is recorded apart from those of the study's own test split.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study and its weights are.
    dataset : Dataset
        With the test split open.
    name : str
        The study.
    trial : int
        Trial number in the search; its confirmation runs are scored where there are any.
    device : str
        Torch device.
    when : str
        Time stamp to record with the opening.
    seed : int
        Seeds the bootstrap of average precision.
    baselines : bool
        Whether the trial's models and the study's baselines were fitted on the same data.
    validation : callable, optional
        Run -> the sequences that its weights were not fitted to, by which its probabilities are calibrated; by default
        the validation split.
    on : mapping of str to any, optional
        Description to record of a data set that is not the study's own; see `Examination`.
    columns : sequence of int, optional
        The outputs of models and baselines to score, one per task of `dataset`; by default all.
    training : Split, optional
        The sequences that the models were trained on, in which relatives are looked for; by default those of `dataset`.

    Raises
    ------
    StudyError
        No such completed trial.
    StorageError
        A stored model is gone, or not what was stored; the opening is not recorded then.
    """
    from tuner.data.leakage import remembered
    from tuner.models.matched import matched_part  # here: who only reads the record need not wait for torch
    from tuner.models.training import predict

    runs = declared_models(storage, name, trial)
    networks = [stored_network(artifacts, run) for run in runs]
    fitted = load_baselines(storage, artifacts, name) if baselines else []
    entry = {"when": when, "trial": trial, "models": len(runs)}
    openings = record_opening(storage, name, entry) if on is None else record_other(storage, name, entry | dict(on))
    test = dataset.test
    outputs = list(range(len(dataset.tasks))) if columns is None else list(columns)
    held_out = [dataset.valid if validation is None else validation(run) for run in runs]
    calibrated = calibrate(
        [
            (
                part.labels[:, outputs],
                predict(net.to(device), part.codes, device=device, average_strands=both)[:, outputs],
            )
            for part, (net, both) in zip(held_out, networks, strict=True)
        ],
        folds=any(run.user_attrs.get(FOLDS) for run in runs),
    )
    logits = np.stack(
        [predict(net.to(device), test.codes, device=device, average_strands=both) for net, both in networks]
    )[:, :, outputs]  # (models, n, tasks)
    told = {label: baseline.score(test.codes)[:, outputs] for label, baseline in fitted}
    matched = matched_part(test.codes, test.labels, {MODELS: logits, ENSEMBLE: logits.mean(axis=0), **told})
    by_one = {
        axis: matched_part(test.codes, test.labels, {MODELS: logits}, by=[axis], jackknife=False)
        for axis in ("gc", "cpg")
    }
    beside: dict[str, dict[str, float]] = {}
    for label, scores in told.items():
        lead = paired_auroc_difference(test.labels, logits, scores)
        beside[label] = {
            "auroc": metrics.auroc(test.labels, scores), "lead": lead.estimate, "low": lead.low, "high": lead.high,
        }  # fmt: skip
        if matched is not None:
            there = matched.lead(MODELS, label)
            ends = {"matched_low": there.low, "matched_high": there.high}
            beside[label] |= {"matched": matched.values[label], "matched_lead": there.estimate}
            beside[label] |= {name: end for name, end in ends.items() if math.isfinite(end)}
    per_model = [metrics.auroc(test.labels, one) for one in logits]
    kept = remembered(dataset.train if training is None else training, test)
    result = Examination(
        trial=trial,
        models=len(runs),
        auroc=auroc_interval(test.labels, logits),
        average_precision=bootstrap_interval(test.labels, logits, "average_precision", seed=seed),
        per_model=per_model,
        ensemble=metrics.auroc(test.labels, logits.mean(axis=0)),
        matched=None if matched is None else matched.values[MODELS],
        matched_low=None if matched is None else _known(matched.interval(MODELS).low),
        matched_high=None if matched is None else _known(matched.interval(MODELS).high),
        matched_sequences=0 if matched is None else matched.sequences,
        **{f"matched_{axis}": None if part is None else part.values[MODELS] for axis, part in by_one.items()},
        tasks=_task_scores(dataset.tasks, test.labels, logits, seed) if len(dataset.tasks) > 1 else {},
        baselines=beside,
        openings=openings,
        predictor=score_predictor(
            dataset.tasks, test.labels, logits, told, calibrated,
            matched=None if matched is None else matched.interval(ENSEMBLE), seed=seed,
        ),
        on=None if on is None else dict(on),
        related=kept.related,
        memoriser=kept.memoriser,
    )  # fmt: skip
    if on is None:
        storage.append_attr(storage.get_study_id_from_name(name), TEST_SCORES, _kept(result, when))
    mean = logits.mean(axis=0)
    spread = logits.std(axis=0, ddof=1) if len(logits) > 1 else np.full_like(mean, np.nan)
    chance = np.asarray(calibrated.whole.probability(mean)).reshape(mean.shape)
    ids = test.ids or tuple(map(str, range(len(test))))
    return Scored(
        result, logits, Predictions(ids, dataset.tasks, test.labels, mean, spread, chance, test.codes.shape[1])
    )


def _kept(result: Examination, when: str) -> dict[str, Any]:
    """What of the test results the study keeps: values with the ends of their intervals."""
    return {
        "when": when, "trial": result.trial, "models": result.models, "opening": result.openings,
        "auroc": [_known(value) for value in result.auroc[:3]],
        "average_precision": [_known(value) for value in result.average_precision[:3]],
        "ensemble": result.ensemble, "matched": [result.matched, result.matched_low, result.matched_high],
        "matched_sequences": result.matched_sequences,
        "baselines": {label: row["auroc"] for label, row in result.baselines.items()},
    }  # fmt: skip


def kept_scores(storage: FencedStorage, name: str) -> list[dict[str, Any]]:
    """The test results that the study keeps, oldest first; those of earlier versions were not kept.

    Raises
    ------
    StorageError
        The attribute is not what `score_test` writes.
    """
    rows = kept_record(storage.get_study_system_attrs(storage.get_study_id_from_name(name)), TEST_SCORES, name)
    for row in rows:
        intervals = [row.get(key) for key in ("auroc", "average_precision", "matched")]
        values = [row.get("ensemble"), *(value for one in intervals if isinstance(one, list) for value in one)]
        sizes = [len(one) for one in intervals if isinstance(one, list)]
        if sizes != [3, 3, 3] or not all(value is None or _is_number(value) for value in values):
            raise StorageError(f"{name}: the attribute {TEST_SCORES} {REMEDY}")
        check_numbers(row, name, whole=("trial", "opening", "models", "matched_sequences"), real=())
    return rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _task_scores(
    tasks: Sequence[str], labels: np.ndarray, logits: np.ndarray, seed: int
) -> dict[str, dict[str, float]]:
    """Score each task on its own, with intervals."""
    scores: dict[str, dict[str, float]] = {}
    for i, task in enumerate(tasks):
        scores[task] = {"positives": float(labels[:, i].sum())}
        for name in ("auroc", "average_precision"):
            one = labels[:, i], logits[:, :, i]
            found = auroc_interval(*one) if name == "auroc" else bootstrap_interval(*one, name, seed=seed)
            scores[task] |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
    return scores


def record_opening(storage: FencedStorage, name: str, entry: Mapping[str, Any]) -> int:
    """Append to the study's record of test openings; how many there are now."""
    return storage.append_attr(storage.get_study_id_from_name(name), OPENINGS, entry)


def openings(storage: FencedStorage, name: str) -> list[dict[str, Any]]:
    """The record of test openings, oldest first."""
    study_id = storage.get_study_id_from_name(name)
    return kept_record(storage.get_study_system_attrs(study_id), OPENINGS, name)


def record_other(storage: FencedStorage, name: str, entry: Mapping[str, Any]) -> int:
    """Append to the study's record of scorings on other data; how many there are now of the same sequences."""
    storage.append_attr(storage.get_study_id_from_name(name), OTHER_OPENINGS, entry)
    return sum(one.get("fingerprint") == entry["fingerprint"] for one in other_openings(storage, name))


def other_openings(storage: FencedStorage, name: str) -> list[dict[str, Any]]:
    """The record of scorings on data that are not the study's own, oldest first."""
    study_id = storage.get_study_id_from_name(name)
    return kept_record(storage.get_study_system_attrs(study_id), OTHER_OPENINGS, name)


def load_baselines(storage: FencedStorage, artifacts: Artifacts, name: str) -> list[tuple[str, Baseline]]:
    """The fitted baselines of a study, as (name, baseline)."""
    return [
        (str(t.params["control"]), stored_baseline(artifacts, t))
        for t in stage_trials(storage, name + CONTROLS)
        if t.state == TrialState.COMPLETE and not is_null(t)
    ]


def dataset_of(storage: FencedStorage, name: str, trial: int) -> str:
    """The data set that a trial of a grid over data sets was trained on.

    Raises
    ------
    StudyError
        No such completed trial.
    """
    return str(declared_models(storage, name, trial)[0].params["dataset"])


def declared_models(storage: FencedStorage, name: str, trial: int) -> list[FrozenTrial]:
    """The runs that stand for a trial: its completed confirmation runs, else the search's own.

    Raises
    ------
    StudyError
        No such completed trial.
    """
    runs = [
        t
        for t in stage_trials(storage, name + CONFIRMATION)
        if t.state == TrialState.COMPLETE and t.user_attrs.get("candidate") == trial
    ]
    if runs:
        return runs
    found = [t for t in stage_trials(storage, name) if t.number == trial]
    if not found or found[0].state != TrialState.COMPLETE:
        state = found[0].state.name.lower() if found else "not there"
        raise StudyError(f"{name}: trial {trial} is {state}; only a completed trial can be evaluated.")
    return found
