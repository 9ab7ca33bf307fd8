"""Counts bases in windows of a genome: from the windows where they are sparse, from running sums where they overlap."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.genome.fasta_index import Bytes
from tuner.genome.genome import Genome
from tuner.genome.intervals import Axis, Index, window_letters
from tuner.genome.sequence import N_CODE, encode_letters

_SPAN: Final = 1 << 23  # bases whose running sums are held at a time: five of 4 bytes each
_LOWER: Final = ord("a")


class Counts(NamedTuple):
    """Bases of each window, shape=(n,), int64.

    Attributes
    ----------
    c, g, pairs : numpy.ndarray
        Number of C, of G, and of CpG.
    known : numpy.ndarray
        Number of bases that are not N.
    repeats : numpy.ndarray
        Number of lower-case letters.
    """

    c: Index
    g: Index
    pairs: Index
    known: Index
    repeats: Index

    @property
    def gc_content(self) -> NDArray[np.float64]:
        """Share of G and C among the known bases, as `tuner.genome.sequence.gc_content`."""
        return np.asarray((self.c + self.g) / np.maximum(self.known, 1), dtype=np.float64)

    @property
    def cpg(self) -> NDArray[np.float64]:
        """Observed/expected ratio of CpG, as `tuner.genome.sequence.cpg`."""
        return np.asarray(self.pairs * self.known / np.maximum(self.c * self.g, 1), dtype=np.float64)


def count_windows(genome: Genome, axis: Axis, start: Index, length: int) -> Counts:
    """Count the bases of windows.

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
    Counts

    Raises
    ------
    DataError
        If the genome holds a character that is not a nucleotide.
    """
    found = np.zeros((5, len(start)), dtype=np.int64)
    order = np.argsort(start, kind="stable")
    ordered = start[order]
    cell = axis.chromosome(ordered) * (1 + int(axis.offset[-1] + axis.sizes[-1]) // _SPAN) + ordered // _SPAN
    edges: list[int] = []
    if len(cell):
        edges = np.flatnonzero(np.diff(cell, prepend=cell[:1] - 1, append=cell[-1:] + 1)).tolist()
    for at, stop in pairwise(edges):
        rows, first = order[at:stop], ordered[at:stop]
        span = int(first[-1] - first[0]) + length
        if len(rows) * length > span:
            number = int(axis.chromosome(first[:1])[0])
            low = int(first[0] - axis.offset[number])
            letters = genome.letters(axis.names[number], low, low + span)
            found[:, rows] = _running(letters, first - first[0], length, genome.name)
        else:
            step = max(1, _SPAN // length)
            for i in range(0, len(rows), step):
                letters = window_letters(genome, axis, first[i : i + step], length)
                found[:, rows[i : i + step]] = [flags.sum(axis=1) for flags in _flags(letters, genome.name)]
    return Counts(*found)


def _flags(letters: Bytes, where: str) -> tuple[NDArray[np.bool_], ...]:
    """Whether each letter is C, G, the C of a CpG, known, and lower case, in the order of `Counts`."""
    codes = encode_letters(letters, where)
    c, g = codes == 1, codes == 2
    pairs = np.zeros_like(c)
    pairs[..., :-1] = c[..., :-1] & g[..., 1:]
    return c, g, pairs, codes != N_CODE, letters >= _LOWER


def _running(letters: Bytes, first: Index, length: int, where: str) -> list[Index]:
    counts = []
    for i, flags in enumerate(_flags(letters, where)):
        sums = np.zeros(len(letters) + 1, dtype=np.int32)
        np.cumsum(flags, out=sums[1:])
        last = first + length - (i == 2)  # the C of a pair is not the last base of a window
        counts.append((sums[last] - sums[first]).astype(np.int64))
    return counts
