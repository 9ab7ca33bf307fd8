"""Intervals on a genome as numbers on one axis, on which the chromosomes lie one after another.

Between two chromosomes is a gap wider than any window, so that no interval of one reaches another. Sorting and binary
search then answer every question about overlaps at once, for all chromosomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.genome.fasta_index import Bytes
from tuner.genome.genome import Genome

Index = NDArray[np.int64]


class Axis:
    """The chromosomes of a genome, one after another.

    Parameters
    ----------
    sizes : mapping of str to int, bp
    gap : int, bp
        Distance between two chromosomes.

    Attributes
    ----------
    names : tuple of str
    sizes, offset : numpy.ndarray, shape=(n_chromosomes,), int64
        Size of each chromosome, and the position of its first base on the axis.
    """

    def __init__(self, sizes: Mapping[str, int], gap: int) -> None:
        self.names = tuple(sizes)
        self.sizes = np.fromiter(sizes.values(), dtype=np.int64, count=len(sizes))
        self.offset = np.concatenate([[0], np.cumsum(self.sizes + gap)])[:-1] + gap
        self._number = {name: i for i, name in enumerate(self.names)}

    def numbers(self, names: NDArray[Any], found: Mapping[str, str]) -> Index:
        """Number of the chromosome that each name means in `found`; -1 if it means none."""
        distinct, which = np.unique(names, return_inverse=True)
        numbers = [self._number[found[name]] if name in found else -1 for name in distinct.tolist()]
        return np.array(numbers, dtype=np.int64)[which.reshape(-1)]

    def chromosome(self, position: Index) -> Index:
        """Number of the chromosome on which each position of the axis lies."""
        return np.asarray(np.searchsorted(self.offset, position, side="right") - 1, dtype=np.int64)


class Regions(NamedTuple):
    """Sorted intervals of the axis that do not touch each other: `start` and `end`, shape=(n,), int64."""

    start: Index
    end: Index

    def touched(self, start: Index, end: Index) -> NDArray[np.bool_]:
        """Whether each interval shares a position with a region; shape=(n,)."""
        if not len(self.start):
            return np.zeros(len(start), dtype=bool)
        after = np.searchsorted(self.end, start, side="right")  # first region that ends behind the start
        inside = np.minimum(after, len(self.start) - 1)
        return np.asarray((after < len(self.start)) & (self.start[inside] < end))


def union(start: Index, end: Index) -> Regions:
    """Merge intervals that overlap or touch."""
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order]) if len(end) else end
    first = np.ones(len(start), dtype=bool)
    first[1:] = start[1:] > end[:-1]
    last = np.append(np.flatnonzero(first)[1:] - 1, len(start) - 1) if len(start) else np.zeros(0, dtype=np.int64)
    return Regions(start[first], end[last])


def strongest(position: Index, signal: NDArray[np.float64], distance: float) -> NDArray[np.bool_]:
    """Keep the strongest of positions that lie nearer to each other than a distance.

    Positions are kept in the order of their signal, each unless it is near one that was kept before.

    Parameters
    ----------
    position : numpy.ndarray, shape=(n,), int64
    signal : numpy.ndarray, shape=(n,), float64
        NaN is the weakest; of equal signals the first is kept.
    distance : float
        Smallest distance of two kept positions.

    Returns
    -------
    numpy.ndarray, shape=(n,), bool
    """
    by_place = np.argsort(position, kind="stable")
    sorted_ = position[by_place]
    low = np.searchsorted(sorted_, position - distance, side="right")
    high = np.searchsorted(sorted_, position + distance, side="left")
    blocked = np.zeros(len(position), dtype=bool)
    kept = np.zeros(len(position), dtype=bool)
    place = np.empty(len(position), dtype=np.int64)
    place[by_place] = np.arange(len(position))
    for i in ranked(signal).tolist():
        if not blocked[place[i]]:
            kept[i] = True
            blocked[low[i] : high[i]] = True
    return kept


def ranked(signal: NDArray[np.float64]) -> Index:
    """Order of signals from the strongest to the weakest, NaN last, equal ones as they come."""
    return np.asarray(np.argsort(-np.nan_to_num(signal, nan=-np.inf), kind="stable"), dtype=np.int64)


def window_letters(genome: Genome, axis: Axis, start: Index, length: int) -> Bytes:
    """Read windows of a genome, chromosome by chromosome.

    Parameters
    ----------
    genome : Genome
    axis : Axis
        Of the genome's sizes.
    start : numpy.ndarray, shape=(n,), int64
        First positions, on the axis; every window lies within its chromosome.
    length : int, bp

    Returns
    -------
    numpy.ndarray, shape=(n, length), uint8
        ASCII, as in the file.
    """
    letters = np.empty((len(start), length), dtype=np.uint8)
    chrom = axis.chromosome(start)
    for number in np.unique(chrom).tolist():
        rows = np.flatnonzero(chrom == number)
        first = start[rows] - axis.offset[number]
        low, high = int(first.min()), int(first.max()) + length
        if len(rows) * 50 * length > high - low:  # reading the whole stretch costs less than one read per window
            stretch = genome.letters(axis.names[number], low, high)
            letters[rows] = np.lib.stride_tricks.sliding_window_view(stretch, length)[first - low]
        else:
            for row, at in zip(rows.tolist(), first.tolist(), strict=True):
                letters[row] = genome.letters(axis.names[number], at, at + length)
    return letters
