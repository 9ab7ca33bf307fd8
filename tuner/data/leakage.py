"""What a split gives away: relatives of training sequences in validation and test, and a score without biology.

The memoriser knows no motif. It scores a sequence by the training sequences that share most words with it, and what it
reaches on a split is what a network can reach there by remembering.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.relatives import portion, related
from tuner.data.separation import separation
from tuner.data.splits import duplicate_groups, sample_rows, stratified
from tuner.data.words import shared_words

if TYPE_CHECKING:
    from tuner.data.dataset import Dataset, Split
    from tuner.genome.sequence import Codes

WORD: Final = 12  # bp
MOST_TRAIN: Final = 50_000
MOST_SCORED: Final = 5_000
"""Larger splits are represented by a sample for the memoriser; its AUROC then has a standard error below .01."""
MOST_BASES: Final = 200_000_000
"""Data with more bases are not searched for relatives, which would take minutes; those of 1 million x 200 are."""
WORTH: Final = 0.01
"""Share of a split with relatives in training from which on there is a warning."""
_BLOCK: Final = 500  # sequences compared with all training sequences at a time


class Leakage(NamedTuple):
    """What validation and test share with training.

    Attributes
    ----------
    found : dict of str to dict
        For validation and test: the sequences with relatives in training (`related`); for validation also the AUROC
        of the memoriser (`memoriser`), None if no task has both classes. Nothing is said about the labels of test.
    warnings : list of str
        For each split with more relatives than negligible: how many, and what to do.
    """

    found: dict[str, dict[str, Any]]
    warnings: list[str]


def leakage(dataset: Dataset) -> Leakage:
    """Count relatives of training sequences in the other splits, and measure what remembering reaches on validation.

    Parameters
    ----------
    dataset : Dataset
        With or without its test split, whose labels are not read.

    Returns
    -------
    Leakage
        Empty, with a warning, if the data have more than 200 million bases.
    """
    size = sum(split.codes.size for split in dataset.splits.values())
    if size > MOST_BASES:
        return Leakage({}, [f"the splits have {size:,} bases, too many to search them for relatives."])
    found: dict[str, dict[str, Any]] = {}
    warnings = []
    for name, split in dataset.splits.items():
        if name == "train":
            continue
        count = int(related(dataset.train.codes, split.codes).sum())
        found[name] = {"related": count}
        reaches = ""
        if name == "valid":
            auroc = memoriser(dataset.train, split)
            found[name]["memoriser"] = auroc
            if auroc is not None:
                reaches = f" What remembers the labels of similar training sequences reaches AUROC {auroc:.3f} there."
        if count >= max(1, WORTH * len(split)):
            warnings.append(
                f"{count} of {len(split)} sequences of {name} have relatives in train (on either strand, a common "
                f"stretch of 30 bases or as many words), so scores on {name} may be too high.{reaches} Remove them "
                "from one of the two, or have tuner split them (FASTA files, or a table without split_column): "
                'split = "homology" keeps relatives together, "chromosome+homology" leaves them out.'
            )
    return Leakage(found, warnings)


def random_memoriser(dataset: Dataset) -> float | None:
    """Measure what the memoriser would reach if training and validation sequences were split at random.

    Only copies of a sequence stay together then, as under ``split = "random"``. The difference to the memoriser of the
    splits as they are is what the splitting prevents.

    Parameters
    ----------
    dataset : Dataset
        Its test split is not touched.

    Returns
    -------
    float or None
        AUROC; None if the data have more than 200 million bases, or as for `memoriser`.
    """
    parts = dataset.train, dataset.valid
    codes, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("codes", "labels"))
    if codes.size > MOST_BASES:
        return None
    share = len(parts[1]) / len(codes)
    rows = stratified(labels, (1 - share, share), seed=0, groups=duplicate_groups(codes))
    whole = replace(parts[0], codes=codes, labels=labels, ids=None, truth=None, groups=None, repeats=None)
    return memoriser(whole.take(rows["train"]), whole.take(rows["valid"]))


class Remembered(NamedTuple):
    """What an opened test split shares with training.

    Attributes
    ----------
    related : int or None
        Its sequences with relatives in training; None if the data have more than 200 million bases.
    memoriser : float or None
        AUROC of the memoriser on it; None likewise, or if no task has both classes.
    """

    related: int | None
    memoriser: float | None


def remembered(train: Split, test: Split) -> Remembered:
    """Measure an opened test split: its sequences with relatives in training, and the AUROC of the memoriser there.

    Parameters
    ----------
    train, test : Split

    Returns
    -------
    Remembered
    """
    if train.codes.size + test.codes.size > MOST_BASES:
        return Remembered(None, None)
    return Remembered(int(related(train.codes, test.codes).sum()), memoriser(train, test))


def memoriser(train: Split, other: Split) -> float | None:
    """Measure how well the labels of similar training sequences predict those of a split.

    Parameters
    ----------
    train, other : Split
        At most 50,000 and 5,000 of their sequences are used, drawn evenly.

    Returns
    -------
    float or None
        AUROC, as the mean over the tasks that have both classes in both splits; None if there is none.
    """
    train = train.take(sample_rows(train.labels, MOST_TRAIN))
    other = other.take(sample_rows(other.labels, MOST_SCORED))
    scores = memoriser_scores(train.codes, train.labels, other.codes)
    values = [
        separation(scores[:, task], other.labels[:, task]).auroc
        for task in range(scores.shape[1])
        if 0 < train.labels[:, task].sum() < len(train) and 0 < other.labels[:, task].sum() < len(other)
    ]
    return float(np.mean(values)) if values else None


def memoriser_scores(train: Codes, labels: NDArray[Any], other: Codes) -> NDArray[np.float64]:
    """Score sequences by their nearest training sequences: similarity to the positive one less that to the negative.

    The similarity of two sequences is the sum, over the different words of 12 bases that they share on either strand,
    of ln((n + 1) / m), where m of the n training sequences hold the word. Words with N, simple repeats, and words that
    more than 1 % of the training sequences (and more than 100) hold are left out.

    Parameters
    ----------
    train : numpy.ndarray, shape=(n, length), uint8
    labels : numpy.ndarray, shape=(n, n_tasks)
        0 or 1.
    other : numpy.ndarray, shape=(m, length), uint8

    Returns
    -------
    numpy.ndarray, shape=(m, n_tasks), float64
    """
    from scipy.sparse import csr_array  # slow to import

    n, m = len(train), len(other)
    number, row, frequency = _common_words(np.concatenate([train, other]), n)
    weight = np.log((n + 1) / np.maximum(frequency, 1)).astype(np.float32)
    shape = (n + m, max(1, len(frequency)))
    held = csr_array((weight[number], (row, number)), shape=shape)[n:]
    known = csr_array((np.ones(len(row), dtype=np.float32), (row, number)), shape=shape)[:n]
    sides = [(known[y > 0].T.tocsr(), known[y == 0].T.tocsr()) for y in np.asarray(labels).T]
    scores = np.zeros((m, len(sides)))
    for start in range(0, m, _BLOCK):
        block = held[start : start + _BLOCK]
        for task, (positive, negative) in enumerate(sides):
            scores[start : start + _BLOCK, task] = _nearest(block @ positive) - _nearest(block @ negative)
    return scores


def _common_words(codes: Codes, n: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """List the words that both the first n and the other sequences hold.

    Returns
    -------
    tuple of numpy.ndarray
        Number of a word, and a row that holds it, shape=(entries,); how many of the first n rows hold each word.
    """
    numbers, rows, frequencies, count = [], [], [], 0
    for words, held in shared_words(codes, WORD, portion(codes)):
        if not len(words):
            continue
        first = np.flatnonzero(np.append(True, words[1:] != words[:-1]))
        size = np.diff(np.append(first, len(words)))
        trained = np.add.reduceat((held < n).astype(np.int64), first)
        use = (trained > 0) & (trained < size) & (trained <= max(100, n // 100))
        numbers.append(np.repeat(np.arange(count, count + use.sum(), dtype=np.int32), size[use]))
        rows.append(held[np.repeat(use, size)].astype(np.int32))
        frequencies.append(trained[use])
        count += int(use.sum())
    if not numbers:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    return np.concatenate(numbers), np.concatenate(rows), np.concatenate(frequencies)


def _nearest(similarity: Any) -> NDArray[np.float64]:
    """The largest similarity in each row; 0 where nothing is shared."""
    if not similarity.shape[1]:
        return np.zeros(similarity.shape[0])
    return np.asarray(similarity.max(axis=1).todense(), dtype=np.float64).reshape(-1)
