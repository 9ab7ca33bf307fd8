"""A predictor from a stored study: the confirmed models of its primary trial, calibrated on validation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from tuner.data.dataset import Dataset
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.errors import StudyError
from tuner.models.calibration import fit_calibration
from tuner.models.prediction import resolve_device
from tuner.predictor.blocks import example_of
from tuner.predictor.ensemble import Member, member_logits
from tuner.predictor.folder import MATCHES, MOTIFS
from tuner.predictor.motifs import matched_filters
from tuner.predictor.predictor import Predictor
from tuner.predictor.reference import Reference
from tuner.results.barren import check_fertile
from tuner.results.findings import findings
from tuner.results.leaderboard import TrialState, objective_names, stage_trials
from tuner.results.test_split import declared_models, kept_scores, openings
from tuner.results.trial_files import DESCRIPTION, stored_network
from tuner.results.words import outdone
from tuner.search.held_out import held_out
from tuner.search.restore import restore_study
from tuner.storage.artifacts import Artifacts
from tuner.storage.keys import CONFIRMATION, CONTROLS, FOLDS
from tuner.storage.storage import FencedStorage
from tuner.study.plan import Plan


def study_predictor(
    storage: FencedStorage,
    artifacts: Artifacts,
    name: str,
    trial: int | None = None,
    *,
    data: Path | None = None,
    data_dir: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    max_memory: int | None = None,
) -> Predictor:
    """Make the predictor of a trial; training and validation sequences are read, the test split stays closed.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study and its files are; neither is changed.
    name : str
        The study.
    trial : int, optional
        Number in the search; by default the primary trial.
    data, data_dir : Path, optional
        As for `restore_study`.
    cache : Path, optional
        Folder of downloads.
    device : str
        As for `resolve_device`; predicts validation.
    max_memory : int, optional, bytes
        Memory that reading the data may take.

    Raises
    ------
    StudyError
        No such trial, no primary trial, or data that differ from those the study was created with.
    NoResult
        Trials have ended, but none completed.
    StorageError
        Weights are missing, or are not what was stored.
    """
    objectives = objective_names(storage, name)
    check_fertile(storage, name)
    if trial is None:
        check_fertile(storage, name, [CONFIRMATION])
        verdict = findings(storage, name, objectives, top=0).verdict
        if verdict is None:
            raise StudyError(f"{name} has no primary trial yet; run tuner confirm, or name one with --trial.")
        trial = verdict.primary
    runs = sorted(
        declared_models(storage, name, trial), key=lambda t: (int(t.user_attrs.get("replicate", 0)), t.number)
    )
    plan, identity, data_dir = restore_study(storage, name, data, data_dir=data_dir)
    variant = str(runs[0].params["dataset"]) if plan.space.dataset_names else None
    spec = DataSpec(dataset=variant) if variant else plan.data_spec
    stored = identity["data sets"][variant] if variant else identity["data set"]["fingerprint"]
    whole = load_dataset(spec, data_dir=data_dir, cache=cache, max_memory=max_memory, fingerprint=stored)
    sizes = {split: len(part) for split, part in whole.splits.items()}
    dataset = whole.without_test()
    if dataset.fingerprint != stored:
        raise StudyError(f"{name}: the data set has changed since the study was created. Say where it is with --data.")
    members = tuple(_member(artifacts, run) for run in runs)
    place = str(resolve_device(device))
    folds = int(runs[0].user_attrs.get(FOLDS, 0))
    labels, logits = _validation(members, runs, dataset, plan, identity, folds, place)
    filters = matched_filters(artifacts, runs)
    shown = member_logits(members, dataset.valid.codes, place).mean(axis=0, dtype=np.float64)[:, 0]
    return Predictor(
        members=members,
        tasks=dataset.tasks,
        length=dataset.length,
        calibration=fit_calibration(labels, logits),
        references=tuple(Reference.of(y, z) for y, z in zip(labels.T, logits.T, strict=True)),
        example=example_of(dataset.valid.codes, dataset.valid.ids, shown),
        files={} if filters is None else {MOTIFS: filters[0], MATCHES: filters[1]},
        about=_about(storage, name, trial, plan, identity, dataset, sizes, objectives, runs, folds),
    )


def _member(artifacts: Artifacts, run: FrozenTrial) -> Member:
    network, average_strands = stored_network(artifacts, run)
    told = json.loads(artifacts.get(run, DESCRIPTION))
    confirmed = "candidate" in run.user_attrs
    name = f"confirmation {int(run.user_attrs.get('replicate', run.number))}" if confirmed else f"trial {run.number}"
    return Member(name, network, dict(told["hyperparameters"]), average_strands)


def _validation(
    members: Sequence[Member],
    runs: Sequence[FrozenTrial],
    dataset: Dataset,
    plan: Plan,
    identity: Mapping[str, Any],
    folds: int,
    device: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mean logits, both of shape=(n, n_tasks), of sequences that the networks were not trained on.

    The networks of a cross-validation have each seen the validation sequences of the others, so each predicts its own.
    """
    if not folds:
        valid = dataset.valid
        return valid.labels, member_logits(members, valid.codes, device).mean(axis=0, dtype=np.float64)
    labels, logits = [], []
    unfitted = held_out(plan, dataset, identity)
    for member, run in zip(members, runs, strict=True):
        part = unfitted(run)
        labels.append(part.labels)
        logits.append(member_logits([member], part.codes, device)[0].astype(np.float64))
    return np.concatenate(labels), np.concatenate(logits)


def _about(
    storage: FencedStorage,
    name: str,
    trial: int,
    plan: Plan,
    identity: Mapping[str, Any],
    dataset: Dataset,
    sizes: Mapping[str, int],
    objectives: Sequence[str],
    runs: Sequence[FrozenTrial],
    folds: int,
) -> dict[str, Any]:
    """Where the predictor comes from, in values that JSON has; paths of this machine are left out."""
    found = findings(storage, name, objectives, top=0)
    candidate = next((c for c in found.candidates if c.candidate == trial and c.runs), None)
    row = next(t for t in stage_trials(storage, name) if t.number == trial)
    if candidate is not None:
        measured = {k: [v, candidate.low.get(k), candidate.high.get(k)] for k, v in candidate.mean.items()}
    else:
        own = {**row.user_attrs, **dict(zip(objectives, row.values, strict=True))}
        measured = {k: [own.get(k), None, None] for k in own}
    names = dict.fromkeys([*objectives, "auroc", "average_precision", "match_fraction"])
    scores = {
        k: [_finite(v) for v in measured[k]] for k in names if k in measured and _finite(measured[k][0]) is not None
    }
    controls = [
        {
            "control": str(t.params["control"]), "auroc": _finite(t.values[0]),
            "match_fraction": _finite(t.user_attrs.get("match_fraction")),
        }
        for t in stage_trials(storage, name + CONTROLS)
        if t.state == TrialState.COMPLETE
    ]  # fmt: skip
    described = dataset.describe()
    splits = {k: {m: v for m, v in s.items() if m != "ground_truth"} for k, s in described["splits"].items()}
    tested = [entry for entry in kept_scores(storage, name) if entry.get("trial") == trial]
    return {
        "study": {
            "name": name, "trial": trial, "primary": found.verdict is not None and found.verdict.primary == trial,
            "objectives": list(objectives), "preset": plan.preset, "seed": plan.seed,
            "models": "confirmation" if candidate is not None else "search", "folds": folds,
            "params": {k: v for k, v in row.params.items() if isinstance(v, str | int | float | bool)},
        },
        "data": {
            "name": dataset.name, "fingerprint": dataset.fingerprint, "length": dataset.length,
            "sequences": dict(sizes), "splits": splits, "shuffled_negatives": dataset.shuffled,
            "warnings": described["warnings"],
        },
        "recipe": plan.recipe.settings(),
        "motifs": {
            "database": identity["motif database"]["name"], "targets": identity["motif database"].get("targets", {}),
        },
        "validation": scores,
        "runs": [{"seed": t.user_attrs.get("seed"), "number": t.number} for t in runs],
        "controls": controls,
        "outdone": outdone(found.controls, candidate),
        "test": tested[-1] if tested else None,
        "openings": len(openings(storage, name)),
    }  # fmt: skip


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
