"""Preparing another data set for the models of a study: another replicate, cell type or assay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from tuner.data.dataset import Dataset
from tuner.data.registry import load_unchecked
from tuner.data.shuffle import SHUFFLED, shuffle_note, shuffled_share
from tuner.data.sizes import counted
from tuner.data.whole import check_classes, copies, fitted, pooled, read_whole, with_length
from tuner.errors import DataError, UsageError, unknown
from tuner.study.other_data import OtherData

PARTS: Final = ("all", "test")  # of another data set: every sequence, or its test split


class Prepared(NamedTuple):
    """Another data set, as the models of a study can score it.

    Attributes
    ----------
    dataset : Dataset
        Its only split is ``test``: the sequences to score, at the length of the study's, with the tasks to score.
    columns : tuple of int
        The output of the models for each task.
    about : dict of str to any
        What is recorded of it: ``name``, ``source``, ``fingerprint`` (of what is scored), ``split``, ``sequences``, how
        many of them are copies of the study's own training or validation (``copies``) and test (``test_copies``)
        sequences, and ``notes``.
    """

    dataset: Dataset
    columns: tuple[int, ...]
    about: dict[str, Any]


def prepare_other(
    other: OtherData,
    own: Dataset,
    study: str,
    part: str = "all",
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    max_memory: int | None = None,
) -> Prepared:
    """Read another data set and fit it to the models of a study.

    Parameters
    ----------
    other : OtherData
        The data set.
    own : Dataset
        What the models were trained on, with its test split.
    study : str
        Name of the study, for notes and errors.
    part : str
        One of `PARTS`.
    data_dir, cache : Path, optional
        Folders of reference data and of downloads.
    max_memory : int, optional, bytes
        Memory that reading the data may take.

    Returns
    -------
    Prepared

    Raises
    ------
    UsageError
        Unknown part.
    DataError
        The data cannot be read, share no task with the study, lack a class, or are the study's own.
    """
    if part not in PARTS:
        raise UsageError(unknown("split to score", part, PARTS))
    spec = other.spec
    if part == "all" and spec.dataset is None and spec.test is None and spec.peaks is None:
        found = read_whole(spec, own.length, max_memory=max_memory)
    else:
        loaded = load_unchecked(with_length(spec, own.length), data_dir=data_dir, cache=cache, max_memory=max_memory)
        chosen = {"test": loaded.test} if part == "test" else loaded.splits
        found = fitted(replace(loaded, splits={"test": pooled(chosen)}), own.length)
    found = replace(found, name=other.name or found.name)
    found, columns = _common_tasks(found, own, study)
    check_classes(found, "Both classes of every task are needed.")
    test = found.splits["test"]
    trained = [own.splits[name] for name in ("train", "valid")]
    known = copies(test, trained)
    tested = copies(test, [own.test])
    if len(columns) == own.n_tasks and copies(test, list(own.splits.values()), alike=True) == len(test):
        raise DataError(
            f"{found.name}: all {len(test)} sequences, with their labels, are data of {study} itself, so there is "
            "nothing else to score. Leave --on out to score the study's own test split."
        )
    notes = list(found.notes)
    if shuffled_share(test.codes, np.asarray(test.labels.any(axis=1))) >= SHUFFLED:
        notes.append(shuffle_note(found.name))
    if known:
        notes.append(
            f"{found.name}: {counted(known, 'sequence')} of {len(test)} also {_occur(known)} in training or validation "
            f"of {study}, on either strand, so scores may be too high."
        )
    if tested:
        notes.append(
            f"{found.name}: {counted(tested, 'sequence')} of {len(test)} also {_occur(tested)} in the test split of "
            f"{study}, on either strand, so these scores tell something of that split, too."
        )
    about = {
        "name": found.name, "source": found.source, "fingerprint": found.fingerprint, "split": part,
        "sequences": len(test), "copies": known, "test_copies": tested, "notes": notes,
    }  # fmt: skip
    return Prepared(found, columns, about)


def _common_tasks(found: Dataset, own: Dataset, study: str) -> tuple[Dataset, tuple[int, ...]]:
    """Keep the tasks that the study has too, in its order; two single tasks may differ in name."""
    if found.n_tasks == own.n_tasks == 1:
        if found.tasks == own.tasks:
            return found, (0,)
        said = f"{found.name}: the task of {study}, {own.tasks[0]}, is scored on the labels {found.tasks[0]}."
        return replace(found, notes=(*found.notes, said)), (0,)
    columns = [i for i, task in enumerate(own.tasks) if task in found.tasks]
    if not columns:
        raise DataError(
            f"{found.name} has the tasks {', '.join(found.tasks)}, but those of {study} are {', '.join(own.tasks)}. "
            "Name the label columns alike, by label_columns for a table and by tasks for an HDF5 file."
        )
    tasks = tuple(own.tasks[i] for i in columns)
    notes = list(found.notes)
    for whose, names in ((study, own.tasks), (found.name, found.tasks)):
        if left := [task for task in names if task not in tasks]:
            notes.append(f"{found.name}: not scored, because only {whose} has them: {_listed(left)}.")
    test = found.splits["test"]
    labels = test.labels[:, [found.tasks.index(task) for task in tasks]]
    return replace(found, tasks=tasks, splits={"test": replace(test, labels=labels)}, notes=tuple(notes)), tuple(
        columns
    )


def _occur(number: int) -> str:
    return "occurs" if number == 1 else "occur"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
