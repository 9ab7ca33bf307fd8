"""The work of one slot: hyperparameters -> trained network -> values, attributes and artifacts.

Claims, heartbeats and budgets are the worker's concern.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import tuner
from tuner.data.dataset import Dataset, Split
from tuner.data.splits import duplicate_groups, k_fold
from tuner.models import compiled, metrics
from tuner.models.architectures import build_model
from tuner.models.baselines import fit_baseline
from tuner.models.network import Network
from tuner.models.training import EpochRecord, Recipe, Trained, fit, resolve_precision
from tuner.motifs.match import FilterMatch
from tuner.motifs.tomtom import kernel_folder, prepare_kernel
from tuner.results.trial_files import (
    BASELINE,
    FILTERS,
    HISTORY,
    MATCHES,
    TASKS,
    TaskScores,
    filters_meme,
    network_files,
    table,
)
from tuner.search.early_stopping import EarlyStopping
from tuner.search.loaded import Bench
from tuner.storage.keys import WITHOUT_GROUPS
from tuner.storage.rungs import Decision
from tuner.study.extra_metrics import measure_attribution, measure_koo
from tuner.study.objectives import OBJECTIVES, Evaluation, evaluate_network, measure_all, without_groups
from tuner.study.parameters import recipe_of, split_point
from tuner.study.plan import mix
from tuner.study.space import Scalar

BASELINES = ("gc", "cpg", "2-mer", "6-mer", "best PWM")


class Outcome(NamedTuple):
    """Result of a slot: objective values by name, attributes, files, and the reason if it was stopped."""

    measured: dict[str, float]
    attributes: dict[str, Any]
    files: dict[str, bytes]
    stopped: str | None = None


Ask = Callable[[Network, Recipe, Trained], bool]


def train(
    bench: Bench,
    point: Mapping[str, Scalar],
    dataset: Dataset,
    *,
    seed: int,
    checkpoint: Path | None,
    on_epoch: Callable[[EpochRecord], None],
    asks: Mapping[int, Ask] | None = None,
) -> tuple[Network, Recipe, Trained]:
    """Build and fit one network at `point`; `asks` (by epoch) decide from its current state whether to continue."""
    hyperparameters, training = split_point(point)
    recipe = recipe_of(training, "trial parameters", bench.plan.recipe)
    network = build_model(hyperparameters, n_tasks=dataset.n_tasks, length=dataset.length, seed=seed)
    trained = fit(
        network, dataset.train, dataset.valid, recipe,
        seed=seed, device=bench.device, checkpoint=checkpoint, on_epoch=on_epoch,
        rungs={epoch: partial(ask, network, recipe) for epoch, ask in (asks or {}).items()},
    )  # fmt: skip
    return network, recipe, trained


def run_network(
    bench: Bench,
    point: Mapping[str, Scalar],
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochRecord], None],
    dataset: Dataset | None = None,
    stopping: EarlyStopping | None = None,
) -> Outcome:
    """Train a network and measure everything on it.

    A network that is stopped is measured in its current state, and its learning curve is its only file.

    Parameters
    ----------
    bench : Bench
        The study's data, database and device.
    point : mapping of str to scalar
        Hyperparameters and training settings.
    seed : int
        Seeds initialisation, batches and dropout.
    checkpoint : Path or None
        File that is overwritten each epoch and resumed from.
    on_epoch : callable
        Called after each epoch; may raise to stop.
    dataset : Dataset or None
        Another arrangement of the study's data (a fold, or shuffled labels).
    stopping : EarlyStopping or None
        Decides at its rungs whether to continue.
    """
    data = dataset or bench.dataset_of(point)
    stopped: tuple[Decision, Evaluation] | None = None

    def ask(stopping: EarlyStopping, network: Network, recipe: Recipe, trained: Trained) -> bool:
        nonlocal stopped
        rung = len(trained.history)
        decision = stopping.known(rung)
        if decision is not None and decision.goes_on:
            return True
        evaluation = evaluate(bench, network, recipe, trained, data, seed, rung=bench.plan.study.objectives)
        decision = decision or stopping.enter(rung, measure_all(evaluation))
        stopped = None if decision.goes_on else (decision, evaluation)
        return decision.goes_on

    network, recipe, trained = train(
        bench, point, data, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch,
        asks={rung: partial(ask, stopping) for rung in stopping.rungs} if stopping is not None else {},
    )  # fmt: skip
    evaluation = stopped[1] if stopped else evaluate(bench, network, recipe, trained, data, seed)
    measured = measure_all(evaluation)
    attributes: dict[str, Any] = {
        **measured,
        "seed": seed,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "stopped": trained.stopped,
        "kernels": "compiled" if compiled.enabled() and torch.device(bench.device).type == "cpu" else "torch",
        "precision": str(resolve_precision(recipe.precision, torch.device(bench.device))).removeprefix("torch."),
        "tuner_version": tuner.__version__,
    }
    undefined = metrics.per_task("auroc", evaluation.labels, evaluation.logits, data.tasks).notes
    if undefined:
        attributes["one_class_tasks"] = "; ".join(undefined)
    if trained.notes:
        attributes["training_notes"] = "; ".join(trained.notes)
    if data is bench.dataset and (groups := without_groups(evaluation, bench.plan.study.objectives)):
        attributes[WITHOUT_GROUPS] = groups
    if stopped:
        attributes["stopped_at"] = len(trained.history)
        return Outcome(
            measured, attributes, {HISTORY: table(EpochRecord, trained.history)}, f"stopped at {stopped[0].reason}"
        )
    return Outcome(measured, attributes, _files(network, point, recipe, data, evaluation))


def evaluate(
    bench: Bench, network: Network, recipe: Recipe, trained: Trained, data: Dataset, seed: int,
    rung: Sequence[str] | None = None,
) -> Evaluation:  # fmt: skip
    """Measure everything, or at a rung only what the study's objectives need."""
    # When numba starts its threads, its OpenMP layer changes the thread count of the whole process: this network would
    # be measured, and the next one trained, on every core, which is slower and gives other values than before.
    threads = torch.get_num_threads()
    try:
        if bench.cache is not None:
            prepare_kernel(
                kernel_folder(bench.cache / "numba")
            )  # compiled once per machine: the other workers wait here, after training
            torch.set_num_threads(threads)
        evaluation = evaluate_network(
            network, trained, data, bench.database, bench.plan.study.motifs.targets,
            average_strands=recipe.average_strands, device=bench.device, seed=mix(seed, "permutations"), rung=rung,
        )  # fmt: skip
        wanted = rung is None or any(OBJECTIVES[name].needs for name in rung)
        more = _extras(bench, network, data, recipe.average_strands) if wanted else {}
        return evaluation._replace(extras={**evaluation.extras, **more})
    finally:
        torch.set_num_threads(threads)


def _extras(bench: Bench, network: Network, data: Dataset, average_strands: bool) -> dict[str, float]:
    """Metrics that the study's optional tables request in addition to those of every trial."""
    study, found = bench.plan.study, dict[str, float]()
    if study.koo is not None:
        found |= measure_koo(network, data, bench.database, study.motifs.targets, study.koo, bench.device)
    if study.attribution is not None:
        seed = mix(bench.plan.seed, "references")  # the same references for every trial
        found |= measure_attribution(
            network, data, study.attribution, average_strands=average_strands, seed=seed, device=bench.device
        )
    return found


def run_baseline(bench: Bench, name: str) -> Outcome:
    """Fit one composition or motif baseline on the training split; measure it on validation."""
    data = bench.dataset
    baseline = fit_baseline(name, data, bench.database.motifs, seed=bench.plan.seed)
    scores = baseline.score(data.valid.codes)
    measured = {
        "auroc": metrics.auroc(data.valid.labels, scores),
        "average_precision": metrics.average_precision(data.valid.labels, scores),
    }
    return Outcome(measured, {**measured, "detail": baseline.detail}, {BASELINE: baseline.to_bytes()})


def fold_dataset(dataset: Dataset, folds: int, fold: int, seed: int) -> Dataset:
    """Rearrange training + validation into fold `fold` of `folds`; the test split stays closed.

    Groups of the data set, copies of a sequence and a positive with its shuffle stay in one fold.
    """
    train_split, valid = dataset.train, dataset.valid
    codes = np.concatenate([train_split.codes, valid.codes])
    labels = np.concatenate([train_split.labels, valid.labels])
    groups = duplicate_groups(codes)
    if train_split.groups is not None and valid.groups is not None:
        groups = np.concatenate([train_split.groups, valid.groups])
    alone = len(np.unique(groups)) == len(groups)  # dealt as always where nothing belongs together
    held_out = k_fold(labels, folds, seed=seed, groups=None if alone else groups) == fold
    whole = Split(codes, labels, groups=groups)
    parts = {"train": whole.take(~held_out), "valid": whole.take(held_out)}
    return replace(dataset, splits={**dataset.splits, **parts})


def _files(
    network: Network, point: Mapping[str, Scalar], recipe: Recipe, data: Dataset, evaluation: Evaluation
) -> dict[str, bytes]:
    from tuner.plots.curves import draw_learning_curve  # imports matplotlib, which is slow
    from tuner.plots.figures import svg
    from tuner.plots.filter_logos import filter_logos

    trained, rows = evaluation.trained, evaluation.matches.rows
    curve = draw_learning_curve(trained.history, best_epoch=trained.chosen_epoch)
    return {
        **network_files(network, split_point(point)[0], data, average_strands=recipe.average_strands),
        FILTERS: filters_meme(evaluation.filters),
        MATCHES: table(FilterMatch, rows),
        HISTORY: table(EpochRecord, trained.history),
        **({TASKS: table(TaskScores, task_scores(data.tasks, evaluation))} if data.n_tasks > 1 else {}),
        "filters.svg": filter_logos(evaluation.filters, rows).encode(),
        "learning_curve.svg": svg(curve).encode(),
    }


def task_scores(tasks: Sequence[str], evaluation: Evaluation) -> list[TaskScores]:
    """AUROC and average precision of each task on validation; None if it has only one class."""
    found = [metrics.per_task(s, evaluation.labels, evaluation.logits).values for s in ("auroc", "average_precision")]
    positives = evaluation.labels.sum(axis=0).astype(int).tolist()
    return [TaskScores(*row) for row in zip(tasks, positives, *found, strict=True)]
