"""One slot's work: hyperparameters -> trained network -> values, attributes and artifacts.

Nothing here knows claims, heartbeats or budgets; the worker wraps it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from optuna.trial import FrozenTrial
from safetensors import SafetensorError
from safetensors.numpy import save as save_tensors

import tuner
from tuner.data.dataset import Dataset, Split
from tuner.data.splits import k_fold
from tuner.errors import DataError, TunerError
from tuner.models import compiled, metrics
from tuner.models.architectures import build_model
from tuner.models.baselines import Baseline, fit_baseline, read_baselines, write_baselines
from tuner.models.budget import budget_for
from tuner.models.network import Network
from tuner.models.training import EpochRecord, Recipe, Trained, fit, resolve_precision
from tuner.motifs.database import Motif, write_meme
from tuner.motifs.tomtom import kernel_folder, prepare_kernel
from tuner.search.artifacts import Artifacts
from tuner.search.bench import Bench
from tuner.search.digests import unusable
from tuner.search.extras import measure_attribution, measure_koo
from tuner.search.gate import Gate
from tuner.search.names import recipe_of, split_point
from tuner.search.objective import OBJECTIVES, Evaluation, evaluate_network, measure_all
from tuner.search.space import Scalar
from tuner.search.stopping import Decision
from tuner.search.study import mix
from tuner.search.tidy import harmless

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
BASELINE = "baseline.npz"
BASELINES = ("gc", "cpg", "2-mer", "6-mer", "best PWM")


class Outcome(NamedTuple):
    """What a finished job leaves: objective values by name, attributes, files, and why it was stopped if it was."""

    measured: dict[str, float]
    attributes: dict[str, Scalar]
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
    """Build and fit one network at `point`; `asks` (epoch -> whether to go on) see it as it would be returned."""
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
    gate: Gate | None = None,
) -> Outcome:
    """Train a network and measure everything on it.

    A network that `gate` ends is measured where it stands, and leaves its learning curve as its only file.

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
        Another arrangement of the study's data (a fold, shuffled labels).
    gate : Gate or None
        Asked at its rungs whether to go on.
    """
    data = dataset or bench.dataset_of(point)
    stopped: tuple[Decision, Evaluation] | None = None

    def ask(gate: Gate, network: Network, recipe: Recipe, trained: Trained) -> bool:
        nonlocal stopped
        rung = len(trained.history)
        decision = gate.known(rung)
        if decision is not None and decision.goes_on:
            return True
        evaluation = _evaluate(bench, network, recipe, trained, data, seed, rung=bench.plan.study.objectives)
        decision = decision or gate.enter(rung, measure_all(evaluation))
        stopped = None if decision.goes_on else (decision, evaluation)
        return decision.goes_on

    network, recipe, trained = train(
        bench, point, data, seed=seed, checkpoint=checkpoint, on_epoch=on_epoch,
        asks={rung: partial(ask, gate) for rung in gate.rungs} if gate is not None else {},
    )  # fmt: skip
    evaluation = stopped[1] if stopped else _evaluate(bench, network, recipe, trained, data, seed)
    measured = measure_all(evaluation)
    attributes: dict[str, Scalar] = {
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
    if stopped:
        attributes["stopped_at"] = len(trained.history)
        return Outcome(measured, attributes, {"history.tsv": history_tsv(trained)}, f"stopped at {stopped[0].reason}")
    return Outcome(measured, attributes, _files(network, point, recipe, data, evaluation))


def _evaluate(
    bench: Bench, network: Network, recipe: Recipe, trained: Trained, data: Dataset, seed: int,
    rung: Sequence[str] | None = None,
) -> Evaluation:  # fmt: skip
    """Measure everything, or at a rung what the study's objectives need."""
    # When numba starts its threads, its OpenMP layer gives the whole process as many as numba may use: this network
    # would be measured and the next one train on every core, slower, and to other values than before the first match.
    threads = torch.get_num_threads()
    try:
        if bench.cache is not None:
            prepare_kernel(
                kernel_folder(bench.cache / "numba")
            )  # compiled once a machine: the others wait here, after training
            torch.set_num_threads(threads)
        evaluation = evaluate_network(
            network, trained, data, bench.database, bench.plan.study.motifs.targets,
            average_strands=recipe.average_strands, device=bench.device, seed=mix(seed, "permutations"), rung=rung,
        )  # fmt: skip
        wanted = rung is None or any(OBJECTIVES[name].needs for name in rung)
        more = _extras(bench, network, data) if wanted else {}
        return evaluation._replace(extras={**evaluation.extras, **more})
    finally:
        torch.set_num_threads(threads)


def _extras(bench: Bench, network: Network, data: Dataset) -> dict[str, float]:
    """What the study's own tables ask for beyond what every trial measures."""
    study, found = bench.plan.study, dict[str, float]()
    if study.koo is not None:
        found |= measure_koo(network, data, bench.database, study.motifs.targets, study.koo, bench.device)
    if study.attribution is not None:
        seed = mix(bench.plan.seed, "references")  # the same references for every trial
        found |= measure_attribution(network, data, study.attribution, seed=seed, device=bench.device)
    return found


def run_label_shuffled(
    bench: Bench, point: Mapping[str, Scalar], *, replicate: int, on_epoch: Callable[[EpochRecord], None]
) -> Outcome:
    """Train on permuted labels; measure AUROC on the true validation labels and the filters' matches.

    The network stops on shuffled validation labels, as a network without signal would.
    """
    data, seed = bench.dataset, shuffled_seed(bench.plan.seed, replicate)
    network, recipe, trained = train_shuffled(bench, point, replicate=replicate, on_epoch=on_epoch)
    evaluation = _evaluate(bench, network, recipe, trained, data, seed)
    measured = measure_all(evaluation)
    files = {**network_files(network, point, recipe, data), "matches.tsv": matches_tsv(evaluation)}
    return Outcome(measured, {**measured, "seed": seed}, files)


def train_shuffled(
    bench: Bench, point: Mapping[str, Scalar], *, replicate: int, on_epoch: Callable[[EpochRecord], None]
) -> tuple[Network, Recipe, Trained]:
    """Train on permuted training labels, stopping on permuted validation labels; the null of everything found."""
    data, seed = bench.dataset, shuffled_seed(bench.plan.seed, replicate)
    rng = np.random.default_rng(seed)
    shuffled = {
        name: replace(split, labels=split.labels[rng.permutation(len(split))])
        for name, split in data.splits.items()
        if name != "test"
    }
    return train(
        bench, point, replace(data, splits={**data.splits, **shuffled}),
        seed=seed, checkpoint=None, on_epoch=on_epoch,
    )  # fmt: skip


def shuffled_seed(seed: int, replicate: int) -> int:
    """Seed of a label-shuffled network of a study."""
    return mix(seed, "label-shuffled", replicate)


def run_baseline(bench: Bench, name: str) -> Outcome:
    """Fit one composition or motif baseline on the training split; measure it on validation."""
    data = bench.dataset
    baseline = fit_baseline(name, data, bench.database.motifs, seed=bench.plan.seed)
    scores = baseline.score(data.valid.codes)
    measured = {
        "auroc": metrics.auroc(data.valid.labels, scores),
        "average_precision": metrics.average_precision(data.valid.labels, scores),
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / BASELINE
        write_baselines(path, [baseline])
        return Outcome(measured, {**measured, "detail": baseline.detail}, {BASELINE: path.read_bytes()})


def load_baseline(content: bytes) -> Baseline:
    """Read what `run_baseline` stored."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / BASELINE
        path.write_bytes(content)
        return read_baselines(path)[0]


def fold_dataset(dataset: Dataset, folds: int, fold: int, seed: int) -> Dataset:
    """Rearrange training + validation into fold `fold` of `folds`; the test split stays closed."""
    train_split, valid = dataset.train, dataset.valid
    codes = np.concatenate([train_split.codes, valid.codes])
    labels = np.concatenate([train_split.labels, valid.labels])
    held_out = k_fold(labels, folds, seed=seed) == fold
    parts = {
        "train": Split(codes[~held_out], labels[~held_out]),
        "valid": Split(codes[held_out], labels[held_out]),
    }
    return replace(dataset, splits={**dataset.splits, **parts})


def matches_tsv(evaluation: Evaluation) -> bytes:
    """Table of filters and their best matches, one row a filter."""
    rows = evaluation.matches.rows
    lines = ["\t".join(type(rows[0])._fields)] if rows else []
    lines += ["\t".join(_cell(v) for v in row) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else harmless(str(value))


def tasks_tsv(tasks: Sequence[str], evaluation: Evaluation) -> bytes:
    """Table of tasks: positive validation sequences, AUROC and average precision, empty where there is one class."""
    found = [metrics.per_task(s, evaluation.labels, evaluation.logits).values for s in ("auroc", "average_precision")]
    positives = evaluation.labels.sum(axis=0).astype(int).tolist()
    lines = ["task\tpositives\tauroc\taverage_precision"]
    lines += ["\t".join(map(_cell, row)) for row in zip(tasks, positives, *found, strict=True)]
    return ("\n".join(lines) + "\n").encode()


def history_tsv(trained: Trained) -> bytes:
    """Table of epochs."""
    lines = ["\t".join(EpochRecord._fields)]
    lines += ["\t".join(_cell(v) for v in record) for record in trained.history]
    return ("\n".join(lines) + "\n").encode()


def _files(
    network: Network, point: Mapping[str, Scalar], recipe: Recipe, data: Dataset, evaluation: Evaluation
) -> dict[str, bytes]:
    from tuner.plots.curve_sheet import curve_sheet  # matplotlib: only who draws waits for it
    from tuner.plots.filter_sheet import filter_sheet

    motifs = [
        Motif(f"filter{f.index}", f"filter{f.index}", f.ppm, None, float(f.sites))
        for f in evaluation.filters
        if f.ppm.shape[1]
    ]
    return {
        **network_files(network, point, recipe, data),
        "filters.meme": write_meme(motifs).encode(),
        "matches.tsv": matches_tsv(evaluation),
        "history.tsv": history_tsv(evaluation.trained),
        **({"tasks.tsv": tasks_tsv(data.tasks, evaluation)} if data.n_tasks > 1 else {}),
        "filters.svg": filter_sheet(evaluation.filters, evaluation.matches.rows),
        "learning_curve.svg": curve_sheet(evaluation.trained.history, best_epoch=evaluation.trained.chosen_epoch),
    }


def network_files(network: Network, point: Mapping[str, Scalar], recipe: Recipe, data: Dataset) -> dict[str, bytes]:
    """Weights and description: what `load_network` reads."""
    tensors = {k: np.ascontiguousarray(v.detach().cpu().numpy()) for k, v in network.state_dict().items()}
    description = {
        "hyperparameters": split_point(point)[0],
        "average_strands": recipe.average_strands,
        "n_tasks": data.n_tasks,
        "length": data.length,
        "tasks": list(data.tasks),
    }
    return {WEIGHTS: save_tensors(tensors), DESCRIPTION: json.dumps(description, indent=1).encode()}


def stored_network(artifacts: Artifacts, run: FrozenTrial) -> tuple[Network, bool]:
    """The network of a trial as `load_network` gives it.

    Raises
    ------
    StorageError
        Its files are missing, not what was stored, or no network; names file and trial.
    """
    weights, description = artifacts.get(run, WEIGHTS), artifacts.get(run, DESCRIPTION)
    try:
        return load_network(weights, description)
    except (TunerError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise unusable(run, f"{WEIGHTS} or {DESCRIPTION}", f"no network ({' '.join(str(e).split())[:200]})") from e


def stored_baseline(artifacts: Artifacts, run: FrozenTrial) -> Baseline:
    """The fitted baseline of a control; raises as `stored_network`."""
    content = artifacts.get(run, BASELINE)
    try:
        return load_baseline(content)
    except DataError as e:
        raise unusable(run, BASELINE, "no readable baseline") from e


def load_network(weights: bytes, description: bytes) -> tuple[Network, bool]:
    """Rebuild a stored network.

    Returns
    -------
    tuple of (Network, bool)
        The network in evaluation mode, and whether its predictions average both strands.
    """
    from safetensors.torch import load

    told = json.loads(description)
    stored = load(io.BytesIO(weights).getvalue())
    with budget_for(stored.values()):  # a description that lies takes no memory
        network = build_model(told["hyperparameters"], n_tasks=told["n_tasks"], length=told["length"], seed=0)
    network.load_state_dict({k: torch.as_tensor(v) for k, v in stored.items()})
    return network.eval(), bool(told["average_strands"])
