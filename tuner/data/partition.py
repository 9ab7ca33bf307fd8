"""Splits a data set into training, validation and test by a rule: at random, by relatives, by chromosomes, or both.

Whatever the rule, copies of a sequence and the groups that the data name stay together. `SplitRule` says what is asked,
`partition` does it for every reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import SPLITS, Dataset
from tuner.data.relatives import linked, relatives
from tuner.data.sizes import counted
from tuner.data.spec import FRACTIONS, DataSpec
from tuner.data.splits import balanced, duplicate_groups, merge_groups, stratified
from tuner.errors import DataError, unknown
from tuner.genome.coordinates import Interval, overlapping
from tuner.genome.sequence import Codes

Index = NDArray[np.int64]
By = Literal["random", "homology", "chromosome", "chromosome+homology"]

LARGE: Final = 0.05
"""Share of the sequences from which on one cluster of relatives is worth a note: it goes to one split as a whole."""
_DRAWS: Final = 200  # random orders of the chromosomes that are tried


@dataclass(frozen=True)
class SplitRule:
    """How a data set is split.

    Parameters
    ----------
    by : str
        ``"random"`` keeps copies and named groups together, ``"homology"`` also relatives and overlapping intervals.
        ``"chromosome"`` gives whole chromosomes to validation and test; ``"chromosome+homology"`` also drops their
        sequences that have relatives in a split before them.
    fractions : sequence of float
        Shares of train, valid and test.
    seed : int
        The same seed gives the same split on any machine.
    valid_chromosomes, test_chromosomes : tuple of str, optional
        Chromosomes of validation and of test; by default they are chosen to hold those shares of the positives.
    """

    by: By = "homology"
    fractions: Sequence[float] = FRACTIONS
    seed: int = 0
    valid_chromosomes: tuple[str, ...] | None = None
    test_chromosomes: tuple[str, ...] | None = None


def rule_of(spec: DataSpec) -> SplitRule:
    """Return the rule that a data section asks for.

    Without one, relatives are kept together; windows around peaks are also split by whole chromosomes.
    """
    default: By = "homology" if spec.peaks is None else "chromosome+homology"
    return SplitRule(
        spec.split or default, spec.shares, spec.seed, spec.valid_chromosomes, spec.test_chromosomes
    )  # fmt: skip


class Partition(NamedTuple):
    """A data set's splits.

    Attributes
    ----------
    rows : dict of str to numpy.ndarray
        Sorted row numbers of ``train``, ``valid`` and ``test``; a row that was dropped is in none of them.
    groups : numpy.ndarray, shape=(n,), int64
        Rows of one number are never separated: for `Split.groups`.
    notes : tuple of str
        What was decided, for `Dataset.notes`.
    """

    rows: dict[str, Index]
    groups: Index
    notes: tuple[str, ...]


def partition(
    codes: Codes,
    labels: NDArray[Any],
    rule: SplitRule,
    *,
    source: str,
    intervals: Sequence[Interval | None] | None = None,
    groups: NDArray[Any] | None = None,
) -> Partition:
    """Split sequences by a rule.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    labels : numpy.ndarray, shape=(n,) or (n, n_tasks)
        Or of k * n rows, of which the rows i, n + i, 2 * n + i, ... belong to sequence i: its shuffles stay with it.
    rule : SplitRule
        How to split.
    source : str
        Name of the data in notes and errors.
    intervals : sequence of Interval or None, optional
        Where each of the n sequences lies in the genome.
    groups : numpy.ndarray, shape=(n,), optional
        Groups that the data name; their sequences stay together.

    Returns
    -------
    Partition
        Of all rows of `labels`.

    Raises
    ------
    DataError
        If a split by chromosomes is asked for and a sequence has no coordinates, groups are named as well, there are
        fewer than three chromosomes or a named one is unknown; or as in `stratified`.
    """
    together = duplicate_groups(codes)
    if groups is not None:
        together = merge_groups(together, groups)
    copies = len(labels) // max(1, len(codes))
    if rule.by == "random":
        together = np.tile(together, copies)
        return Partition(stratified(labels, rule.fractions, seed=rule.seed, groups=together), together, ())
    notes: list[str] = []
    if rule.by == "chromosome":
        chromosomes = _chromosomes(intervals, groups, rule, source)
        part, shares = by_chromosome(chromosomes, np.asarray(labels)[: len(codes)], rule, source)
        whole = np.tile(np.unique(chromosomes, return_inverse=True)[1].astype(np.int64), copies)
        return Partition(_rows(np.tile(part, copies), rule), whole, (shares,))
    clusters = kin(codes, together, intervals)
    if rule.by == "homology":
        notes += _large(clusters, source)
        deal = stratified if np.array_equal(clusters, together) else balanced  # as always where nothing is related
        clusters = np.tile(clusters, copies)
        return Partition(deal(labels, rule.fractions, seed=rule.seed, groups=clusters), clusters, tuple(notes))
    chromosomes = _chromosomes(intervals, groups, rule, source)
    part, shares = by_chromosome(chromosomes, np.asarray(labels)[: len(codes)], rule, source)
    kept = first_only(part, clusters)
    notes.append(shares)
    for i, name in ((1, "valid"), (2, "test")):
        gone, whole_size = int(((part == i) & ~kept).sum()), int((part == i).sum())
        if gone:
            before = "training" if i == 1 else "training or valid"
            notes.append(f"{source}: {gone} of {whole_size} sequences of {name} have relatives in {before} and were "
                         f"left out of the data set.")  # fmt: skip
    part = np.where(kept, part, -1)
    return Partition(_rows(np.tile(part, copies), rule), np.tile(clusters, copies), tuple(notes))


def kin(codes: Codes, together: Index, intervals: Sequence[Interval | None] | None = None) -> Index:
    """Join groups that hold relatives or overlapping intervals.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    together : numpy.ndarray, shape=(n,), int64
        Groups that stay together anyway.
    intervals : sequence of Interval or None, optional
        Where each sequence lies.

    Returns
    -------
    numpy.ndarray, shape=(n,), int64
        For each row the smallest number in `together` that a chain links with it: where no two groups are linked,
        `together` itself, so that its split stays the same.
    """
    cluster = relatives(codes)
    if intervals is not None:
        cluster = linked(cluster, *overlapping(intervals))
    joined = merge_groups(cluster, together)
    smallest = np.full(joined.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, joined, together)
    return np.asarray(smallest[joined], dtype=np.int64)


def with_relatives(dataset: Dataset) -> Dataset:
    """Return the data set with groups that hold the relatives of its training and validation sequences.

    For data that come split: their splits stay, and folds made from them keep relatives together.

    Parameters
    ----------
    dataset : Dataset
        Its test split, if it is open, gets no groups.
    """
    parts = (dataset.train, dataset.valid)
    codes = np.concatenate([part.codes for part in parts])
    together = duplicate_groups(codes)
    named = [part.groups for part in parts if part.groups is not None]
    if len(named) == len(parts):
        together = merge_groups(together, np.concatenate(named))
    groups = np.split(kin(codes, together), [len(dataset.train)])
    both = zip(("train", "valid"), parts, groups, strict=True)
    splits = {name: replace(part, groups=own) for name, part, own in both}
    return replace(dataset, splits={**dataset.splits, **splits})


def first_only(part: Index, clusters: Index) -> NDArray[np.bool_]:
    """Say which rows may stay so that each cluster is in one part only: those of the first part that holds it.

    Parameters
    ----------
    part, clusters : numpy.ndarray, shape=(n,), int64
        Number of each row's part, and of its cluster.
    """
    number = np.unique(clusters, return_inverse=True)[1]
    first = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, number, part)
    return np.asarray(part == first[number])


def by_chromosome(chromosomes: NDArray[Any], labels: NDArray[Any], rule: SplitRule, source: str) -> tuple[Index, str]:
    """Give whole chromosomes to each split.

    Of 200 random orders of the chromosomes the one is taken whose shares of the positives come closest to those asked
    for, where each split takes chromosomes as long as that brings it closer to its share.

    Parameters
    ----------
    chromosomes : numpy.ndarray, shape=(n,), str
    labels : numpy.ndarray, shape=(n,) or (n, n_tasks)
        A row counts as positive if any task has it.
    rule : SplitRule
        Shares, seed and named chromosomes.
    source : str
        Name of the data in errors and in the note.

    Returns
    -------
    part : numpy.ndarray, shape=(n,), int64
        0, 1 or 2 for train, valid or test.
    note : str
        Which chromosomes are in which split, and what share of the positives they hold.

    Raises
    ------
    DataError
        There are fewer than three chromosomes, or a named one is unknown or in both lists.
    """
    names, number = np.unique(chromosomes, return_inverse=True)
    parts = SPLITS[: len(rule.fractions)]
    if len(names) < len(parts):
        raise DataError(
            f"{source}: a split by chromosomes needs at least {len(parts)} of them, one for each split; the sequences "
            f'lie on {", ".join(names) or "none"}. Set split = "homology", which keeps relatives and overlapping '
            "sequences together."
        )
    positives = np.bincount(number, weights=np.asarray(labels).reshape(len(number), -1).any(axis=1))
    fixed = _named(rule, names.tolist(), source)
    wished = np.asarray(rule.fractions, dtype=np.float64) * positives.sum()
    rng = np.random.default_rng(rule.seed)
    best, found = np.inf, fixed
    for _ in range(_DRAWS):
        drawn = _drawn(fixed, positives, wished, rng.permutation(len(names)))
        got = np.bincount(drawn, weights=positives, minlength=len(parts))
        miss = float(np.abs(got - wished).sum()) + (len(set(drawn.tolist())) < len(parts)) * 2 * len(number)
        if miss < best:
            best, found = miss, drawn
    lists = []
    for i, split in enumerate(parts):
        held = names[found == i].tolist()
        told = ", ".join(held) if len(held) <= 12 else f"{', '.join(held[:12])} and {len(held) - 12} more"
        share = positives[found == i].sum() / max(1.0, positives.sum())
        lists.append(f"{split} has {told or 'none'} ({share:.0%} of the positives)")
    return found[number], f"{source}: split by chromosomes: {'; '.join(lists)}."


def _drawn(fixed: Index, positives: NDArray[Any], wished: NDArray[Any], order: Index) -> Index:
    """Fill test, then valid, with free chromosomes in this order, at least one each; the others are training."""
    part = fixed.copy()
    for i in range(len(wished) - 1, 0, -1):
        if (fixed == i).any():
            continue
        have = 0.0
        for chromosome in order:
            if part[chromosome] < 0 and abs(have + positives[chromosome] - wished[i]) < abs(have - wished[i]):
                part[chromosome] = i
                have += positives[chromosome]
        free = order[part[order] < 0]
        if not (part == i).any() and len(free) > i:  # every chromosome is larger than the share: take the smallest
            part[free[np.argmin(positives[free])]] = i
    return np.where(part < 0, 0, part)


def _named(rule: SplitRule, names: list[str], source: str) -> Index:
    """Return the split of each chromosome that the rule names, and -1 for the others."""
    part = np.full(len(names), -1, dtype=np.int64)
    for i, listed in ((1, rule.valid_chromosomes), (2, rule.test_chromosomes)):
        for name in listed or ():
            if name not in names:
                raise DataError(f"{source}: {unknown('chromosome', name, names)}")
            if part[names.index(name)] >= 0:
                raise DataError(f"{source}: the chromosome {name} is named twice; it can be in one split only.")
            part[names.index(name)] = i
    if not (part < 0).any():
        raise DataError(
            f"{source}: valid_chromosomes and test_chromosomes name every chromosome. Leave one for training."
        )
    return part


def _chromosomes(
    intervals: Sequence[Interval | None] | None, groups: NDArray[Any] | None, rule: SplitRule, source: str
) -> NDArray[Any]:
    if groups is not None:
        raise DataError(
            f'{source}: split = "{rule.by}" and group_column ask for two different splits. Remove one of the two; with '
            "a column of chromosomes as group_column, whole chromosomes stay in one split."
        )
    missing = [i for i, interval in enumerate(intervals or [None]) if interval is None]
    if intervals is None or missing:
        who = "the sequences have" if intervals is None or len(missing) == len(intervals) else (
            f"{counted(len(missing), 'sequence')} of {len(intervals)} (the first is number {missing[0] + 1}) "
            f"{'has' if len(missing) == 1 else 'have'}"
        )  # fmt: skip
        raise DataError(
            f'{source}: split = "{rule.by}" needs to know where each sequence lies, and {who} no coordinates in the '
            'name. Write headers such as >chr1:100-500, or set split = "homology".'
        )
    return np.array([interval.chrom for interval in intervals if interval is not None])


def _rows(part: Index, rule: SplitRule) -> dict[str, Index]:
    return {name: np.flatnonzero(part == i) for i, name in enumerate(SPLITS[: len(rule.fractions)])}


def _large(clusters: Index, source: str) -> list[str]:
    size = Counter(clusters.tolist()).most_common(1)
    if not size or size[0][1] < max(2, LARGE * len(clusters)):
        return []
    return [
        f"{source}: {size[0][1]} of {len(clusters)} sequences form one cluster of relatives (sequences that share "
        "words of 30 bases, through a chain), as copies of a repeat do. They are in one split, which may have a larger "
        'share than asked for. split = "random" would separate them.'
    ]
