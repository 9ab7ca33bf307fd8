"""Scoring a stored study on its test split: its primary trial, or another trial that is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.errors import StudyError
from tuner.models.training import resolve_device
from tuner.results.barren import check_fertile
from tuner.results.findings import primary_trial
from tuner.results.leaderboard import objective_names
from tuner.results.test_predictions import Predictions
from tuner.results.test_split import Examination, dataset_of, score_test
from tuner.search.held_out import held_out
from tuner.search.other_data import prepare_other
from tuner.search.restore import restore_study
from tuner.storage.artifacts import Artifacts
from tuner.storage.keys import CONFIRMATION
from tuner.storage.storage import FencedStorage
from tuner.study.other_data import OtherData


class Evaluated(NamedTuple):
    """Test results.

    Attributes
    ----------
    examination : Examination
        The results.
    variant : str or None
        The data set of the trial, if the baselines were fitted on another one.
    predictions : Predictions
        For the sequences that were scored.
    """

    examination: Examination
    variant: str | None
    predictions: Predictions


def evaluate_study(
    storage: FencedStorage,
    artifacts: Artifacts,
    name: str,
    trial: int | None = None,
    *,
    when: str,
    data: Path | None = None,
    data_dir: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    max_memory: int | None = None,
    on: OtherData | None = None,
    part: str = "all",
) -> Evaluated:
    """Score a trial's models and the baselines on the test split; the opening is recorded in the study.

    Parameters
    ----------
    storage, artifacts : FencedStorage, Artifacts
        Where the study and its files are.
    name : str
        The study.
    trial : int, optional
        Number in the search; by default the primary trial.
    when : str
        Time stamp to record.
    data, data_dir : Path, optional
        As for `restore_study`.
    cache : Path, optional
        Folder of downloads.
    device : str
        As for `resolve_device`.
    max_memory : int, optional, bytes
        Memory that reading the data may take.
    on : OtherData, optional
        Another data set to score instead of the test split, which stays closed.
    part : str
        The sequences of `on` to score; see `prepare_other`.

    Raises
    ------
    StudyError
        No such trial, no primary trial, or a test split that differs from the one the study was created with.
    NoResult
        Trials have ended, but none completed.
    DataError
        As in `prepare_other`.
    StorageError
        Weights are missing, or are not what was stored.
    """
    check_fertile(storage, name)
    if trial is None:
        check_fertile(storage, name, [CONFIRMATION])
        verdict = primary_trial(storage, name, objective_names(storage, name))
        if verdict is None:
            raise StudyError(f"{name} has no primary trial yet; run tuner confirm, or name one with --trial.")
        trial = verdict.primary
    plan, identity, data_dir = restore_study(storage, name, data, data_dir=data_dir)
    variant = dataset_of(storage, name, trial) if plan.space.dataset_names else None
    spec = DataSpec(dataset=variant) if variant else plan.data_spec
    stored = identity["data sets"][variant] if variant else identity["data set"]["fingerprint"]
    dataset = load_dataset(spec, data_dir=data_dir, cache=cache, max_memory=max_memory, fingerprint=stored)
    if dataset.fingerprint != stored:
        raise StudyError(f"{name}: the data set has changed since the study was created, and its test split with it.")
    same = dataset.fingerprint == identity["data set"]["fingerprint"]
    where = str(resolve_device(device))
    unfitted = held_out(plan, dataset, identity)
    if on is None:
        found = score_test(
            storage, artifacts, dataset, name, trial, device=where, when=when, baselines=same, validation=unfitted
        )
    else:
        other = prepare_other(on, dataset, name, part, data_dir=data_dir, cache=cache, max_memory=max_memory)
        found = score_test(
            storage, artifacts, other.dataset, name, trial, device=where, when=when, baselines=same,
            validation=unfitted, on=other.about, columns=other.columns,
            training=replace(dataset.train, labels=dataset.train.labels[:, list(other.columns)]),
        )  # fmt: skip
    return Evaluated(found.examination, None if same else variant, found.predictions)
