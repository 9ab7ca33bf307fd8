"""`Dataset`: sequences, labels and splits as every reader and simulator returns them, and the checks on them.

Shapes: codes (n, length) uint8 (see `tuner.genome.sequence`), labels (n, n_tasks) uint8 of 0 and 1; in simulated data
also truth (n, 4, length) float32, the matrix from which each sequence was drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.shuffle import SHUFFLED, shuffle_note, shuffled_share
from tuner.data.sizes import FEWEST, counted, interval_words
from tuner.errors import DataError
from tuner.genome.sequence import N_CODE, Codes, cpg, gc_content, reverse_complement

SPLITS: Final = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    labels : numpy.ndarray, shape=(n, n_tasks), uint8
        0 or 1.
    ids : tuple of str, optional
        One name per sequence.
    truth : numpy.ndarray, shape=(n, 4, length), float32, optional
        Probability matrix from which each simulated sequence was drawn.
    groups : numpy.ndarray, shape=(n,), int64, optional
        Sequences of one number are never separated by a split: copies, a positive and its shuffle, what the data set
        names a group. Numbers are the same in all splits of a data set.
    repeats : numpy.ndarray, shape=(n,), float32, optional
        Share of each window that is lower case in a soft-masked genome.
    """

    codes: Codes
    labels: NDArray[np.uint8]
    ids: tuple[str, ...] | None = None
    truth: NDArray[np.float32] | None = None
    groups: NDArray[np.int64] | None = None
    repeats: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, index: NDArray[Any]) -> Split:
        """Return the sequences that an integer or boolean index selects, in its order."""
        rows = np.arange(len(self))[index]
        return Split(
            codes=self.codes[rows],
            labels=self.labels[rows],
            ids=None if self.ids is None else tuple(self.ids[i] for i in rows),
            truth=None if self.truth is None else self.truth[rows],
            groups=None if self.groups is None else self.groups[rows],
            repeats=None if self.repeats is None else self.repeats[rows],
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Sequences and labels in the splits train, valid and test.

    Parameters
    ----------
    name : str
        Name for people; error messages begin with it.
    tasks : tuple of str
        One name per label column.
    splits : mapping of str to Split
        ``train``, ``valid`` and, unless it has been removed, ``test``.
    source : str
        Where it comes from: a path, a URL, or the call of a simulator.
    notes : tuple of str
        Decisions of the reader, e.g. how many ambiguity letters became N.
    sealed : str, optional
        Fingerprint of the whole data set, if the test split has been removed.
    recipe : tuple of str
        How it was made, where it was made from other data: statements that need no attention.
    """

    name: str
    tasks: tuple[str, ...]
    splits: Mapping[str, Split]
    source: str
    notes: tuple[str, ...] = ()
    sealed: str | None = None
    recipe: tuple[str, ...] = ()

    @property
    def train(self) -> Split:
        """Split on which weights are fitted."""
        return self._split("train")

    @property
    def valid(self) -> Split:
        """Split on which models are selected."""
        return self._split("valid")

    @property
    def test(self) -> Split:
        """Split that is opened once, after everything has been selected."""
        if self.sealed is not None:
            raise DataError(
                f"{self.name}: the test split is closed, because nothing that selects models may see it. "
                f"Open it through `tuner evaluate` or `tuner report`, which record the opening."
            )
        return self._split("test")

    def _split(self, name: str) -> Split:
        try:
            return self.splits[name]
        except KeyError:
            raise DataError(
                f"{self.name} has no split {name!r}; it has {', '.join(map(repr, self.splits)) or 'none'}."
            ) from None

    @property
    def length(self) -> int:
        """Number of bases per sequence."""
        return int(self.train.codes.shape[1])

    @property
    def n_tasks(self) -> int:
        """Number of label columns."""
        return len(self.tasks)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of task names, split names, codes and labels, but not of name or source."""
        if self.sealed is not None:
            return self.sealed
        digest = hashlib.sha256(json.dumps(self.tasks).encode())
        for name in sorted(self.splits):
            split = self.splits[name]
            # Shapes are included: otherwise shapes (2, 3) and (3, 2) with the same bytes would be the same data set.
            digest.update(json.dumps([name, split.codes.shape, split.labels.shape]).encode())
            digest.update(np.ascontiguousarray(split.codes, dtype=np.uint8).data)
            digest.update(np.ascontiguousarray(split.labels, dtype=np.uint8).data)
        return digest.hexdigest()

    def without_test(self) -> Dataset:
        """Return the data set without its test split, as a search gets it.

        Returns
        -------
        Dataset
            It has the same fingerprint, and its ``test`` raises DataError.
        """
        kept = {name: split for name, split in self.splits.items() if name != "test"}
        return replace(self, splits=kept, sealed=self.fingerprint)

    @cached_property
    def shuffled(self) -> bool:
        """Whether the training negatives are dinucleotide shuffles of positives, by their counts."""
        split = self.train
        return shuffled_share(split.codes, np.asarray(split.labels.any(axis=1))) >= SHUFFLED

    def _shuffled_note(self) -> list[str]:
        return [shuffle_note(self.name)] if self.shuffled else []

    def describe(self) -> dict[str, Any]:
        """Summarise the data set in plain values that can be written as JSON.

        Returns
        -------
        dict
            ``name``, ``source``, ``fingerprint``, ``length``, ``tasks``, ``splits`` (see `_describe_split`; for the
            test split only its size), ``recipe``, ``relatives`` (see `tuner.data.leakage.Leakage`) and ``warnings``:
            notes of the reader, duplicates, relatives in two splits, and classes that are too small for a conclusion.
        """
        from tuner.data.leakage import leakage  # imports this module

        leak = leakage(self)
        return {
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "length": self.length,
            "tasks": list(self.tasks),
            "splits": {
                name: {"sequences": len(split)} if name == "test" else _describe_split(split, self.tasks)
                for name, split in self.splits.items()
            },
            "recipe": list(self.recipe),
            "relatives": leak.found,
            "warnings": [*self.notes, *self._shuffled_note(), *_duplicates(self), *leak.warnings, *_few(self)],
        }


def _describe_split(split: Split, tasks: tuple[str, ...]) -> dict[str, Any]:
    """Count and measure one split; the composition of a class without sequences is None."""
    positive = split.labels.any(axis=1)
    measures: dict[str, Any] = {
        "sequences": len(split),
        "positives": {task: int(n) for task, n in zip(tasks, split.labels.sum(axis=0), strict=True)},
        "unknown_bases": float((split.codes == N_CODE).mean()),
        "ground_truth": split.truth is not None,
    }
    for measure, values in (("gc", gc_content(split.codes)), ("cpg", cpg(split.codes))):
        for side, rows in (("positives", positive), ("negatives", ~positive)):
            measures[f"{measure}_{side}"] = float(values[rows].mean()) if rows.any() else None
    return measures


def canonical(codes: Codes) -> Codes:
    """Return the alphabetically first strand of each sequence.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8

    Returns
    -------
    numpy.ndarray, shape=(n, length), uint8
        A sequence and its reverse complement give equal rows.
    """
    other = reverse_complement(codes)
    rows = np.arange(len(codes))
    first = (codes != other).argmax(axis=1)  # first column in which the strands differ; 0 in palindromes
    return np.where((codes[rows, first] <= other[rows, first])[:, None], codes, other)


def _duplicates(dataset: Dataset) -> list[str]:
    """Describe overlaps between splits, and copies of a sequence with contradicting labels."""
    seen: dict[str, dict[bytes, bytes]] = {}
    warnings = []
    for name, split in dataset.splits.items():
        keys = [row.tobytes() for row in canonical(split.codes)]
        labels = [row.tobytes() for row in split.labels]
        own = dict(zip(keys, labels, strict=True))
        conflicts = sum(own[key] != label for key, label in zip(keys, labels, strict=True))
        if conflicts and name != "test":
            first = next(i for i, (key, label) in enumerate(zip(keys, labels, strict=True)) if own[key] != label)
            which = f"{split.ids[first]!r}" if split.ids else f"number {first + 1}"
            warnings.append(
                f"{counted(conflicts, 'sequence')} of {name} {'occurs' if conflicts == 1 else 'occur'} in it again, on "
                f"either strand, with a different label; the first is {which}. Remove them, or correct their labels."
            )
        for earlier, known in seen.items():
            shared = sum(key in known for key in keys)
            if shared:
                warnings.append(
                    f"{counted(shared, 'sequence')} of {name} also {'occurs' if shared == 1 else 'occur'} in {earlier} "
                    f"(on either strand), so scores on {name} may be too high. Remove them from one of the two."
                )
        seen[name] = own
    return warnings


def check(dataset: Dataset) -> None:
    """Refuse a data set that cannot be learned from or evaluated on.

    Parameters
    ----------
    dataset : Dataset

    Raises
    ------
    DataError
        If a split is missing or empty, sequences differ in length or are shorter than 2 bases, codes or labels have
        invalid values, shapes do not fit together, or a task has only one class in a split. Duplicates are not an
        error; `Dataset.describe` lists them.
    """
    expected = SPLITS[:2] if dataset.sealed is not None else SPLITS
    length = dataset.length
    if not dataset.tasks:
        raise DataError(f"{dataset.name}: there is no task; at least one label column is needed.")
    if len(set(dataset.tasks)) != len(dataset.tasks):
        raise DataError(f"{dataset.name}: task names repeat: {', '.join(dataset.tasks)}.")
    for name in expected:
        _check_split(dataset._split(name), name, dataset, length)


def _check_split(split: Split, name: str, dataset: Dataset, length: int) -> None:
    where = f"{dataset.name}, split {name!r}"
    if not len(split):
        copies = ""
        if whole := _sound(dataset):
            codes = np.concatenate([s.codes for s in whole])
            distinct = len(np.unique(canonical(codes), axis=0))
            if distinct < len(codes):
                copies = f" Only {distinct} of the {len(codes)} sequences are distinct, and copies stay in one split."
        raise DataError(f"{where} is empty; it needs positives and negatives of every task.{copies}{_bound(dataset)}")
    if split.codes.ndim != 2 or split.codes.shape[1] != length or length < 2:
        raise DataError(f"{where}: codes have shape {split.codes.shape}; expected (n, {length}), length >= 2.")
    if split.codes.max() > N_CODE:
        raise DataError(f"{where}: codes hold {split.codes.max()}; expected 0..3 for A, C, G, T and 4 for N.")
    if split.labels.shape != (len(split), dataset.n_tasks):
        raise DataError(
            f"{where}: {len(split)} sequences but labels of shape {split.labels.shape}; "
            f"expected ({len(split)}, {dataset.n_tasks})."
        )
    if split.labels.max() > 1:
        raise DataError(f"{where}: labels hold {split.labels.max()}; expected 0 or 1.")
    if split.truth is not None and split.truth.shape != (len(split), 4, length):
        raise DataError(f"{where}: ground truth has shape {split.truth.shape}; expected ({len(split)}, 4, {length}).")
    if split.ids is not None and len(split.ids) != len(split):
        raise DataError(f"{where}: {len(split.ids)} ids for {len(split)} sequences.")
    for task, positives in zip(dataset.tasks, split.labels.sum(axis=0), strict=True):
        if positives in (0, len(split)):
            kind, lacking = ("positives", "negatives") if positives else ("negatives", "positives")
            raise DataError(
                f"{where}: task {task!r} has only {kind} ({len(split)} sequences). "
                f"Both classes are needed in every split: {_lack(dataset, task, lacking)}.{_bound(dataset)}"
            )


def _bound(dataset: Dataset) -> str:
    """Say that relatives stay together, if a data set has far fewer groups of them than sequences."""
    groups = [split.groups for split in dataset.splits.values() if split.groups is not None]
    size = sum(map(len, groups))
    together = len(np.unique(np.concatenate(groups))) if groups else 0
    if not size or together > size // 3:  # copies of a positive, and its shuffle, make groups too
        return ""
    return (
        f" The {size} sequences form {counted(together, 'group')} of copies, relatives or overlapping sequences, and a "
        'group stays in one split; split = "random" in [data] keeps only copies together.'
    )


def _sound(dataset: Dataset) -> list[Split]:
    """Return the splits that are not empty and have the right shape; the others may not have been checked yet."""
    return [
        s
        for s in dataset.splits.values()
        if len(s) and s.codes.shape[1:] == (dataset.length,) and s.labels.shape == (len(s), dataset.n_tasks)
    ]


def _lack(dataset: Dataset, task: str, kind: str) -> str:
    """Say what to do if a split lacks the positives or negatives of a task."""
    column = dataset.tasks.index(task)
    rows = [s.codes[s.labels[:, column] == (kind == "positives")] for s in _sound(dataset)]
    found = np.concatenate(rows)
    distinct = len(np.unique(canonical(found), axis=0)) if len(found) else 0
    if distinct < len(found):
        return (
            f"the {len(found)} {kind} are copies of {distinct} distinct sequence{'s' * (distinct != 1)}, and copies of "
            f"a sequence, on either strand, stay in one split. Remove the copies, and add {kind} that "
            "differ from each other"
        )
    return f"there are {len(found)} {kind} in total. Add sequences, or choose other split fractions"


_MORE: Final = "Add sequences, or give this split a larger share of them."


def _few(dataset: Dataset) -> list[str]:
    """Describe each split whose smaller class is too small for conclusions; test is judged by its size alone."""
    warnings = []
    for name, split in dataset.splits.items():
        if name == "test":
            if len(split) < 2 * FEWEST:
                warnings.append(
                    f"test has {counted(len(split), 'sequence')}, too few to support a result: even if half of them "
                    f"are positives, {interval_words(len(split) // 2, len(split) - len(split) // 2)}. {_MORE}"
                )
            continue
        for task, positives in zip(dataset.tasks, split.labels.sum(axis=0, dtype=int).tolist(), strict=True):
            negatives = len(split) - positives
            if min(positives, negatives) >= FEWEST:
                continue
            of = f" of {task}" if dataset.n_tasks > 1 else ""
            sizes = f"{name} has {counted(positives, 'positive')} and {counted(negatives, 'negative')}{of}, too few to"
            if name == "train":
                warnings.append(f"{sizes} train a network, which may do no better than chance. {_MORE}")
            else:
                warnings.append(f"{sizes} tell trials apart: {interval_words(positives, negatives)}. {_MORE}")
    return warnings
