"""Reads all sequences of a data set as one part, at the length of those that a model was or will be trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tuner.data.dataset import Dataset, Split, canonical
from tuner.data.lengths import CommonLength, length_notes
from tuner.data.readers import read, reads_length
from tuner.data.spec import DataSpec, WholeSpec
from tuner.errors import DataError
from tuner.genome.sequence import N_CODE


def with_length(spec: DataSpec, length: int) -> DataSpec:
    """Return a data section whose sequences, if they differ in length, are brought to `length` when they are read.

    Sequences of one length are read as they are, and so are those for which the section states a length of its own.
    """
    if spec.dataset is not None or spec.length is not None or not reads_length(spec):
        return spec
    return replace(spec, length=CommonLength(length))


def read_whole(spec: DataSpec, length: int, base: Path | None = None, *, max_memory: int | None = None) -> Dataset:
    """Read every sequence of the files that a data section names, whatever splits they have.

    Parameters
    ----------
    spec : DataSpec
        With `path`, `positives` or `folder`; its test set is not read.
    length : int
        Number of bases to which the sequences are cropped around their centres, or padded with N.
    base : Path, optional
        Folder to which relative paths refer.
    max_memory : int, optional, bytes
        As in `tuner.data.readers.read`.

    Returns
    -------
    Dataset
        With all sequences in the split ``test``: in the order of the files where they do not split, else those of
        train, valid and test one after the other.

    Raises
    ------
    DataError
        As in `tuner.data.readers.read`.
    """
    given: dict[str, Any] = {field.name: getattr(spec, field.name) for field in fields(spec)}
    whole = WholeSpec(**{**given, "fractions": None, "test": None})
    found = read(with_length(whole, length), base, max_memory=max_memory)
    parts = {name: len(split) for name, split in found.splits.items() if len(split)}
    if len(parts) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in parts.items())
        found = replace(found, notes=(*found.notes, f"{found.name}: all of its splits were taken together ({listed})."))
    return fitted(replace(found, splits={"test": pooled(found.splits)}), length)


def pooled(splits: Mapping[str, Split]) -> Split:
    """Join splits in their order; what one of them lacks (ids, ground truth, groups), the whole lacks."""
    parts = [split for split in splits.values() if len(split)] or list(splits.values())
    if len(parts) == 1:
        return parts[0]
    ids = None if any(p.ids is None for p in parts) else tuple(name for p in parts for name in p.ids or ())
    return Split(
        codes=np.concatenate([p.codes for p in parts]),
        labels=np.concatenate([p.labels for p in parts]),
        ids=ids,
        truth=_joined([p.truth for p in parts]),
        groups=_joined([p.groups for p in parts]),
        repeats=_joined([p.repeats for p in parts]),
    )


def _joined(arrays: Sequence[Any]) -> Any:
    return None if any(array is None for array in arrays) else np.concatenate(arrays)


def fitted(dataset: Dataset, length: int) -> Dataset:
    """Crop the sequences of the split ``test`` around their centres, or pad them with N, and say so in a note.

    Ground truth is dropped where the length changes.
    """
    split = dataset.splits["test"]
    own = split.codes.shape[1]
    if own == length:
        return dataset
    notes = length_notes(dataset.name, np.full(len(split), own), length, split.labels)
    if own > length:
        start = (own - length) // 2
        codes = np.ascontiguousarray(split.codes[:, start : start + length])
    else:
        codes = np.full((len(split), length), N_CODE, dtype=np.uint8)
        start = (length - own) // 2
        codes[:, start : start + own] = split.codes
    return replace(dataset, splits={"test": replace(split, codes=codes, truth=None)}, notes=dataset.notes + notes)


def check_classes(dataset: Dataset, remedy: str) -> None:
    """Refuse a data set whose split ``test`` is empty or has only one class of a task.

    Parameters
    ----------
    dataset : Dataset
    remedy : str
        What to do, as a sentence.

    Raises
    ------
    DataError
        With the task and its class.
    """
    split = dataset.splits["test"]
    if not len(split):
        raise DataError(f"{dataset.name} has no sequences. {remedy}")
    for task, positives in zip(dataset.tasks, split.labels.sum(axis=0, dtype=int).tolist(), strict=True):
        if positives in (0, len(split)):
            kind, lacking = ("positives", "negatives") if positives else ("negatives", "positives")
            raise DataError(
                f"{dataset.name}: task {task!r} has only {kind} ({len(split)} sequences) and no {lacking}. {remedy}"
            )


def copies(split: Split, others: Sequence[Split], *, alike: bool = False) -> int:
    """Count the sequences of a split that occur in others of the same length, on either strand.

    Parameters
    ----------
    split, others : Split
        With the same tasks, if labels are compared.
    alike : bool
        Count only those that occur there with the same labels.
    """
    known = {key for other in others for key in _keys(other, alike)}
    return sum(key in known for key in _keys(split, alike))


def _keys(split: Split, labelled: bool) -> list[bytes]:
    rows = canonical(split.codes)
    return [row.tobytes() for row in (np.concatenate([rows, split.labels], axis=1) if labelled else rows)]
