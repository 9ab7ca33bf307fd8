"""Composition: k-mer counts, and weights under which composition cannot separate the classes.

ChIP-seq peaks differ from their background in GC and CpG content, so a model can score well without a motif. The
baselines use `kmer_counts`; `matching_weights` weights sequences so that GC and CpG content do not help.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError, unknown
from tuner.genome.sequence import ALPHABET, N_CODE, Codes, cpg, decode, gc_content, reverse_complement

# Bin widths for matching, chosen on training + validation sequences. ZBED2: 1756 of 3921 sequences are kept, AUROC of
# GC .723 -> .499, of CpG .812 -> .503; of the 490 validation sequences 178 are kept, .498 and .510. IRF1: 2158 of 3113,
# .341 -> .500 and .431 -> .504. Widths of .05 and .20 keep 5 % more and leave CpG at .512.
GC_WIDTH: Final = 0.02
CPG_WIDTH: Final = 0.10
MATCHED_BY: Final = {"gc": (gc_content, GC_WIDTH), "cpg": (cpg, CPG_WIDTH)}
# Sequences counted at a time: 1024 x 4096 6-mers of 8 bytes are 32 MB.
_BLOCK: Final = 1024


@lru_cache(maxsize=8)
def kmers(k: int, collapse: bool = True) -> tuple[str, ...]:
    """Return the column names of `kmer_counts`: all k-mers in alphabetical order, or one of each strand pair.

    Parameters
    ----------
    k : int
        From 1 to 8.
    collapse : bool
        Whether to keep only the first of a k-mer and its reverse complement.

    Returns
    -------
    tuple of str
    """
    codes, column = _kmer_columns(k, collapse)
    first = np.unique(column, return_index=True)[1]
    return tuple(decode(codes[first]))


def kmer_counts(codes: Codes, k: int, collapse: bool = True) -> NDArray[np.float32]:
    """Count k-mers.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    k : int
        From 1 to 8.
    collapse : bool
        Whether to count a k-mer and its reverse complement as one: 10 columns for k = 2, 2080 for k = 6.

    Returns
    -------
    numpy.ndarray, shape=(n, n_kmers), float32
        Columns as in `kmers`. Windows that contain N are not counted.

    Raises
    ------
    DataError
        If `k` is out of range or larger than the length.
    """
    if codes.shape[1] < k:
        raise DataError(f"sequences of {codes.shape[1]} bases have no {k}-mers.")
    column = _kmer_columns(k, collapse)[1]
    width = int(column.max()) + 1
    counts = np.empty((len(codes), width), dtype=np.float32)
    for start in range(0, len(codes), _BLOCK):
        block = codes[start : start + _BLOCK]
        windows = block.shape[1] - k + 1
        number = np.zeros((len(block), windows), dtype=np.int64)
        known = np.ones((len(block), windows), dtype=bool)
        for i in range(k):
            base = block[:, i : i + windows]
            number = number * len(ALPHABET) + np.minimum(base, N_CODE - 1)
            known &= base != N_CODE
        row = np.broadcast_to(np.arange(len(block))[:, None], number.shape)
        cells = row[known] * width + column[number[known]]
        counts[start : start + len(block)] = np.bincount(cells, minlength=len(block) * width).reshape(-1, width)
    return counts


@lru_cache(maxsize=8)
def _kmer_columns(k: int, collapse: bool) -> tuple[Codes, NDArray[np.int64]]:
    """Return all k-mers in order, shape=(4^k, k), and the column that counts each, shape=(4^k,)."""
    if not 1 <= k <= 8:
        raise DataError(f"k = {k}; k-mers are counted for k from 1 to 8 (4^8 = 65,536 columns).")
    place = len(ALPHABET) ** np.arange(k - 1, -1, -1)
    numbers = np.arange(len(ALPHABET) ** k)
    codes = (numbers[:, None] // place % len(ALPHABET)).astype(np.uint8)
    if not collapse:
        return codes, numbers
    other = reverse_complement(codes).astype(np.int64) @ place
    return codes, np.unique(np.minimum(numbers, other), return_inverse=True)[1].astype(np.int64)


def matching_weights(codes: Codes, labels: NDArray[Any], *, by: Sequence[str] = ("gc", "cpg")) -> NDArray[np.float64]:
    """Weight sequences so that positives and negatives have the same total weight in every bin of composition.

    In a matched part, sequences of the larger class of each bin are dropped at random until both classes are equal; a
    weight is the probability of being kept. A positive and a negative are kept independently of each other, so the
    weighted AUROC of one task is the mean of the AUROC over all such matched parts, without drawing any of them.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    labels : numpy.ndarray, shape=(n,) or (n, n_tasks)
        A sequence is positive if any task is.
    by : sequence of str
        ``"gc"`` (GC content), ``"cpg"`` (CpG observed/expected), or both.

    Returns
    -------
    numpy.ndarray, shape=(n,), float64
        In [0, 1]. Their sum is the size of a matched part; all are 0 if no bin contains both classes.

    Raises
    ------
    DataError
        If a name in `by` is unknown.
    """
    return bin_weights(composition_bins(codes, by), labels)


def composition_bins(codes: Codes, by: Sequence[str] = ("gc", "cpg")) -> NDArray[np.int64]:
    """Number the bin of composition that each sequence is in; as for `matching_weights`.

    Raises
    ------
    DataError
        If a name in `by` is unknown.
    """
    for name in by:
        if name not in MATCHED_BY:
            raise DataError(unknown("composition to match", name, MATCHED_BY))
    # The small term keeps a value at the edge of a bin (.58 / .02) from falling below it by rounding.
    bins = np.floor(np.stack([measure(codes) / width for measure, width in (MATCHED_BY[n] for n in by)], axis=1) + 1e-9)
    return np.unique(bins, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def bin_weights(cell: NDArray[np.int64], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Weights of sequences whose bins are known; as for `matching_weights`."""
    side = (np.asarray(labels).reshape(len(labels), -1).max(axis=1, initial=0) > 0).astype(np.int64)
    found = np.zeros((cell.max(initial=-1) + 1, 2))
    np.add.at(found, (cell, side), 1.0)
    weights: NDArray[np.float64] = (found.min(axis=1)[cell] / found[cell, side]).astype(np.float64)
    return weights
