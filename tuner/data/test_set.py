"""Makes the files that a study names as its test set the test split of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tuner.data.dataset import Dataset, Split
from tuner.data.readers import names_tasks
from tuner.data.spec import TEST, DataSpec
from tuner.data.whole import check_classes, copies, read_whole
from tuner.errors import DataError

_BOTH = "Both classes of every task are needed."


def with_test_set(
    dataset: Dataset, spec: DataSpec, base: Path | None = None, *, max_memory: int | None = None
) -> Dataset:
    """Make the test set of a data section the test split.

    Parameters
    ----------
    dataset : Dataset
        What the data section names besides its test set. If it has a test split of its own, that is left out, and a
        note says so.
    spec : DataSpec
        With or without a test set.
    base : Path, optional
        Folder to which relative paths refer.
    max_memory : int, optional, bytes
        As in `tuner.data.readers.read`.

    Returns
    -------
    Dataset
        Its test split holds all sequences of the test set, at the length of the training sequences; without a test
        set, `dataset` itself.

    Raises
    ------
    DataError
        If the test set cannot be read, lacks a class, has other tasks, or is what models are trained on.
    """
    if spec.test is None:
        return dataset
    trained = {name: split for name, split in dataset.splits.items() if name != "test"}
    try:
        _refuse_same_file(spec, base or Path())
        found = read_whole(spec.test, dataset.length, base, max_memory=max_memory)
        check_classes(found, _BOTH)
        test = _in_order(found, dataset, unnamed=not (names_tasks(spec) and names_tasks(spec.test)))
        if len(test) == copies(test, list(trained.values()), alike=True):
            raise DataError(
                f"{found.name}: all {len(test)} sequences occur in training and validation with the same labels, so "
                "they test nothing. Name sequences that no model is trained on."
            )
    except DataError as error:
        raise DataError(f"[data.test] {error}") from error
    notes = list(dataset.notes)
    if own := len(dataset.splits.get("test", ())):
        notes.append(
            f"{dataset.name}: its own test split ({own} sequences) was left out, because the study names a test set."
        )
    return replace(
        dataset,
        splits=trained | {"test": _renumbered(test, list(trained.values()))},
        source=f"{dataset.source}; test set {found.source}",
        notes=(*notes, *found.notes),
    )


def _refuse_same_file(spec: DataSpec, base: Path) -> None:
    own = {(base / path).resolve() for key, path in spec.files.items() if not key.startswith(TEST)}
    for key, path in spec.files.items():
        if key.startswith(TEST) and (base / path).resolve() in own:
            raise DataError(
                f"{path} is also a file of training. Name another file; if this one says which of its rows are for "
                "testing, leave test out and name that column in split_column."
            )


def _in_order(found: Dataset, dataset: Dataset, *, unnamed: bool) -> Split:
    """Return the test split with its label columns in the order of the training tasks."""
    test = found.splits["test"]
    if found.n_tasks == dataset.n_tasks == 1 and unnamed:
        return test  # what no file names has no other name
    if set(found.tasks) != set(dataset.tasks):
        raise DataError(
            f"{found.name} has the tasks {', '.join(found.tasks)}, but those of training are "
            f"{', '.join(dataset.tasks)}. Name the label columns alike, by label_columns for a table and by tasks for "
            "an HDF5 file."
        )
    return replace(test, labels=test.labels[:, [found.tasks.index(task) for task in dataset.tasks]])


def _renumbered(test: Split, others: Sequence[Split]) -> Split:
    """Give groups of the test split numbers that no other split has."""
    if test.groups is None:
        return test
    largest = max((int(split.groups.max(initial=-1)) for split in others if split.groups is not None), default=-1)
    return replace(test, groups=test.groups + largest + 1)
