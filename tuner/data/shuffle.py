"""Dinucleotide shuffles: negatives with the same dinucleotide counts as a positive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tuner.genome.sequence import Codes

SHORTEST = 30  # bp
SHUFFLED = 0.5  # share of the negatives from which on they are called shuffles; of genomic ones it is 0


def shuffle_note(source: str) -> str:
    """Say what scores mean if the negatives are shuffles, for the notes of the data set."""
    return (
        f"{source}: the negatives are dinucleotide shuffles of the positives, so scores measure how well real "
        "sequences are distinguished from shuffled ones, not bound from unbound ones. A 6-mer regression does that "
        "without any factor (AUROC .94 on sequences that nothing binds). To measure binding, give unbound genomic "
        "sequences as negatives."
    )


def shuffled_share(codes: Codes, positive: NDArray[np.bool_]) -> float:
    """Share of the negatives that have exactly the dinucleotide counts of a positive, as its shuffles have.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    positive : numpy.ndarray, shape=(n,), bool

    Returns
    -------
    float
        0 for sequences shorter than 30 bp, which share counts by chance.
    """
    if codes.shape[1] < SHORTEST or not positive.any() or positive.all():
        return 0.0
    pairs = codes[:, :-1].astype(np.int64) * 5 + codes[:, 1:]  # A, C, G, T, N
    counts = np.stack([np.bincount(row, minlength=25) for row in pairs]).astype(np.uint16)
    known = {row.tobytes() for row in counts[positive]}
    return float(np.mean([row.tobytes() in known for row in counts[~positive]]))


def dinucleotide_shuffle(codes: Codes, *, seed: int) -> Codes:
    """Shuffle each sequence, keeping its dinucleotide counts and its first and last base.

    The result is a random Euler path of the graph whose nodes are the bases and whose edges are the dinucleotides
    (Altschul & Erickson 1985). The last edges that leave each node form a random tree rooted at the last base, drawn by
    the loop-erased random walk of Wilson (1996), so that every path is equally likely. N is treated like a base.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    seed : int

    Returns
    -------
    numpy.ndarray, shape=(n, length), uint8
    """
    rng = np.random.default_rng(seed)
    return np.stack([_shuffle_one(row, rng) for row in codes]) if len(codes) else codes.copy()


def _shuffle_one(row: Codes, rng: np.random.Generator) -> Codes:
    if len(row) < 4:
        return row.copy()  # nothing can move: two inner bases are needed
    leaving = {base: rng.permutation(row[1:][row[:-1] == base]).tolist() for base in np.unique(row).tolist()}
    root = int(row[-1])
    last: dict[int, int] = {}  # index, among the edges that leave a node, of the one used last
    rooted = {root}
    for start in leaving:
        node = start
        while node not in rooted:  # walk at random; a loop is erased by overwriting its exits
            last[node] = int(rng.integers(len(leaving[node])))
            node = leaving[node][last[node]]
        node = start
        while node not in rooted:
            rooted.add(node)
            node = leaving[node][last[node]]
    for node, index in last.items():
        leaving[node].append(leaving[node].pop(index))
    shuffled = np.empty_like(row)
    node = int(row[0])
    used = dict.fromkeys(leaving, 0)
    shuffled[0] = node
    for i in range(1, len(row)):
        edge = used[node]
        used[node] += 1
        node = leaving[node][edge]
        shuffled[i] = node
    return shuffled
