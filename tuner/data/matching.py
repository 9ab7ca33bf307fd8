"""Draws windows of a genome whose composition is that of given ones: GC content, CpG, repeats.

Candidates are drawn at random from all positions at which a window may lie, in rounds that grow until every bin of
composition is filled. Only the drawn windows are looked at, so the time depends on the number of windows and hardly on
the size of the genome.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.composition import CPG_WIDTH, GC_WIDTH
from tuner.genome.genome import Genome
from tuner.genome.intervals import Axis, Index, Regions
from tuner.genome.window_counts import Counts, count_windows

FIRST: Final = 40
"""Candidates per wanted window in the first round; each further round draws four times as many as the one before."""
MOST: Final = 1 << 25
"""Candidates of all rounds."""
_BLOCK: Final = 1 << 22  # windows counted in one step
_REPEAT_LEVELS: Final = np.array([0.0, 0.25, 0.5, 0.75])  # windows without repeats are a level of their own
_CPG_BINS, _LEVELS = 64, 8


class Bins(NamedTuple):
    """Bins of composition of windows, shape=(n,), int64.

    Attributes
    ----------
    fine : numpy.ndarray
        GC content, CpG if wanted, and share of repeats.
    coarse : numpy.ndarray
        The same without repeats.
    known : numpy.ndarray, bool
        Whether a window has no N.
    """

    fine: Index
    coarse: Index
    known: NDArray[np.bool_]


def bins_of(counts: Counts, length: int, *, by_cpg: bool) -> Bins:
    """Number the bin of composition of each window, with the bins of the matched part (`tuner.data.composition`).

    Parameters
    ----------
    counts : Counts
    length : int, bp
    by_cpg : bool
        Whether CpG observed/expected is a part of the bin.

    Returns
    -------
    Bins
    """
    coarse = np.floor(counts.gc_content / GC_WIDTH + 1e-9).astype(np.int64) * _CPG_BINS
    if by_cpg:
        coarse += np.minimum(np.floor(counts.cpg / CPG_WIDTH + 1e-9), _CPG_BINS - 1).astype(np.int64)
    level = np.searchsorted(_REPEAT_LEVELS, counts.repeats / length, side="left")
    return Bins(coarse * _LEVELS + level, coarse, counts.known == length)


class Free(NamedTuple):
    """Stretches in which a window may begin: first positions on the axis, and how many there are up to each stretch."""

    first: Index
    before: Index

    @property
    def total(self) -> int:
        """Number of positions at which a window may begin."""
        return int(self.before[-1])

    def positions(self, index: Index) -> Index:
        """Positions on the axis by their number among all free ones."""
        which = np.searchsorted(self.before, index, side="right") - 1
        return np.asarray(self.first[which] + index - self.before[which], dtype=np.int64)


def free_starts(axis: Axis, chromosomes: Index, taken: Regions, length: int) -> Free:
    """Find all positions at which a window lies within one of these chromosomes and touches no taken region.

    Parameters
    ----------
    axis : Axis
    chromosomes : numpy.ndarray, shape=(n,), int64
        Their numbers.
    taken : Regions
    length : int, bp

    Returns
    -------
    Free
    """
    first, stop = [], []
    for number in np.sort(chromosomes).tolist():
        low = axis.offset[number]
        high = low + axis.sizes[number]
        inside = slice(np.searchsorted(taken.end, low, side="right"), np.searchsorted(taken.start, high, side="left"))
        first.append(np.concatenate([[low], taken.end[inside]]))
        stop.append(np.concatenate([taken.start[inside], [high]]))
    begin = np.concatenate(first) if first else np.zeros(0, np.int64)
    count = (np.concatenate(stop) if stop else begin) - begin - length + 1
    kept = count > 0
    return Free(begin[kept], np.concatenate([[0], np.cumsum(count[kept])]).astype(np.int64))


def draw_matched(
    genome: Genome, axis: Axis, free: Free, wanted: Bins, length: int, *, by_cpg: bool, rng: np.random.Generator
) -> Index:
    """Draw one window for each wanted one, of the same bin of composition.

    Parameters
    ----------
    genome : Genome
    axis : Axis
    free : Free
        Where windows may begin.
    wanted : Bins
        Bins of the windows to match, one for each window to draw.
    length : int, bp
    by_cpg : bool
        As for `bins_of`.
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray, shape=(at most len(wanted.fine),), int64
        First positions on the axis, sorted; no two are nearer than half a window. There are fewer than wanted if the
        free positions have no more windows of a bin of GC content (and CpG). Repeats are matched as far as possible.
    """
    start = np.zeros(0, dtype=np.int64)
    fine, coarse, chosen = start, start, np.zeros(0, dtype=bool)
    if not free.total or not len(wanted.fine):
        return start
    wanted_bins = np.unique(wanted.coarse)
    size, seen = FIRST * len(wanted.fine), 0
    for further in range(20):
        everything = size >= free.total
        index = np.arange(free.total) if everything else np.sort(rng.integers(free.total, size=size))
        new = _candidates(genome, axis, free, index, wanted_bins, length, by_cpg)
        start, fine, coarse = (np.concatenate(pair) for pair in zip((start, fine, coarse), new, strict=True))
        start, kept = np.unique(start, return_index=True)
        fine, coarse = fine[kept], coarse[kept]
        chosen = _fill(start, fine, coarse, wanted, length / 2, rng)
        seen += size
        matched = int(chosen.sum()) == len(wanted.fine)
        if everything or seen >= MOST or (matched and (further or _same(fine[chosen], wanted.fine))):
            break
        size = min(4 * size, MOST)
        if not matched:  # only the bins that are still short need more candidates
            wanted_bins = _short(coarse[chosen], wanted.coarse)
    return start[chosen]


def _same(found: Index, wanted: Index) -> bool:
    return np.array_equal(np.sort(found), np.sort(wanted))


def _short(found: Index, wanted: Index) -> Index:
    """Bins of which fewer are found than wanted."""
    bins, need = np.unique(wanted, return_counts=True)
    return bins[_counts(found, bins) < need]


def _counts(values: Index, bins: Index) -> Index:
    """How many values equal each of the sorted bins."""
    ordered = np.sort(values)
    return np.asarray(np.searchsorted(ordered, bins, "right") - np.searchsorted(ordered, bins, "left"), dtype=np.int64)


def _candidates(
    genome: Genome, axis: Axis, free: Free, index: Index, wanted_bins: Index, length: int, by_cpg: bool
) -> tuple[Index, Index, Index]:
    """Positions, fine and coarse bins of the free windows that have no N and a wanted bin."""
    parts = []
    for at in range(0, len(index), _BLOCK):
        start = free.positions(index[at : at + _BLOCK])
        found = bins_of(count_windows(genome, axis, start, length), length, by_cpg=by_cpg)
        kept = found.known & np.isin(found.coarse, wanted_bins)
        parts.append((start[kept], found.fine[kept], found.coarse[kept]))
    starts, fines, coarses = (np.concatenate(column) for column in zip(*parts, strict=True))
    return starts, fines, coarses


def _fill(
    start: Index, fine: Index, coarse: Index, wanted: Bins, distance: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose candidates at random until every fine bin, then every coarse one, has as many as wanted."""
    chosen = np.zeros(len(start), dtype=bool)
    priority = rng.permutation(len(start))
    for key, want in ((fine, wanted.fine), (coarse, wanted.coarse)):
        bins, need = np.unique(want, return_counts=True)
        order = np.lexsort((priority, key))
        order = order[np.isin(key[order], bins)]
        while len(order):
            order = order[~chosen[order]]
            short = need - _counts(key[chosen], bins)
            which = np.searchsorted(bins, key[order])
            first = np.searchsorted(which, which, side="left")
            picked = order[np.arange(len(order)) - first < short[which]]
            if not len(picked):
                break
            order = order[~np.isin(order, picked)]
            chosen[_apart(start, chosen, picked, distance)] = True
    return chosen


def _apart(start: Index, chosen: NDArray[np.bool_], picked: Index, distance: float) -> Index:
    """Those of the picked candidates that keep the distance to the chosen ones and to each other."""
    while len(picked):
        rows = np.sort(np.concatenate([np.flatnonzero(chosen), picked]))  # `start` is sorted, so rows are in its order
        close = np.flatnonzero(np.diff(start[rows]) < distance)
        if not len(close):
            break
        left, right = rows[close], rows[close + 1]
        picked = picked[~np.isin(picked, np.where(chosen[right], left, right))]
    return picked
