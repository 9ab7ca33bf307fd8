"""Merges the sites of several files into one list with one label per file, as Basset's preprocessing does.

Windows that overlap by at least `least` bases are merged, the pair with the largest overlap first, into a window around
the mean of their centres, which is weighted by one more than the number of files in each (Kelley et al. 2016,
Genome Research 26:990, preprocess_features.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tuner.genome.sites import Sites


def merge_sites(files: Sequence[Sites], length: int, least: int) -> tuple[Sites, NDArray[np.uint8]]:
    """Merge sites of several files.

    Parameters
    ----------
    files : sequence of Sites
        One for each task.
    length : int, bp
        Length of the windows.
    least : int, bp
        Smallest overlap of windows that are merged.

    Returns
    -------
    tuple of (Sites, numpy.ndarray)
        Sites in the order of the genome, and their labels, shape=(n, n_files): 1 where the file has a site that became
        part of this one. Strands are kept where they agree; the signal is the largest.
    """
    start = np.concatenate([sites.start for sites in files])
    strand = np.concatenate([sites.strand for sites in files])
    signal = np.concatenate([sites.signal for sites in files])
    owner = np.repeat(np.arange(len(files)), [len(sites) for sites in files])
    order = np.argsort(start, kind="stable")
    first = start[order].tolist()
    members: list[list[int]] = [[int(i)] for i in order]
    active = [{int(owner[i])} for i in order]
    left, right = list(range(-1, len(first) - 1)), [*range(1, len(first)), -1]
    alive = [True] * len(first)
    version = [0] * len(first)
    heap = [_entry(first, i, i + 1, length, version) for i in range(len(first) - 1)]
    heap = [entry for entry in heap if -entry[0] >= least]
    heapq.heapify(heap)
    while heap:
        _, _, i, j, of_i, of_j = heapq.heappop(heap)
        if not (alive[i] and alive[j] and version[i] == of_i and version[j] == of_j and right[i] == j):
            continue
        a, b = 1 + len(active[i]), 1 + len(active[j])
        middle = (a * (2 * first[i] + length - 1) + b * (2 * first[j] + length - 1)) / (2 * (a + b))
        first[i] = int(0.5 + middle) - length // 2
        members[i] += members[j]
        active[i] |= active[j]
        alive[j] = False
        version[i] += 1
        right[i] = right[j]
        if right[i] >= 0:
            left[right[i]] = i
        for one, other in ((left[i], i), (i, right[i])):
            if one >= 0 and other >= 0:
                entry = _entry(first, one, other, length, version)
                if -entry[0] >= least:
                    heapq.heappush(heap, entry)
    kept = [i for i, there in enumerate(alive) if there]
    labels = np.zeros((len(kept), len(files)), dtype=np.uint8)
    strands = np.full(len(kept), ".", dtype="<U1")
    signals = np.full(len(kept), np.nan)
    for row, i in enumerate(kept):
        labels[row, list(active[i])] = 1
        if len(set(strand[members[i]].tolist())) == 1:
            strands[row] = strand[members[i][0]]
        known = signal[members[i]]
        if not np.isnan(known).all():
            signals[row] = np.nanmax(known)
    merged = Sites(np.array([first[i] for i in kept], dtype=np.int64), strands, signals)
    return merged, labels


def _entry(first: list[int], i: int, j: int, length: int, version: list[int]) -> tuple[int, int, int, int, int, int]:
    """Element of the heap: overlap with a minus, place, the pair, and the versions of both."""
    return first[j] - first[i] - length, first[i], i, j, version[i], version[j]
