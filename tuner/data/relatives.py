"""Relatives: sequences that share so many words that a network which remembers one of them knows the other.

The rule: two sequences are relatives if they share at least 15 different words of 16 bases, on either strand. That is
what one common stretch of 30 bases has; several shorter stretches count as well, as in copies of a repeat that have
diverged by 10 %. Two sites of one motif of 21 bases share 6 such words. Words with N, simple repeats, and (unless it
is part of a common stretch of 30 bases) a word that more than 100 sequences hold do not count. Sequences linked by a
chain of relatives form a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.words import Rows, Words, shared_words, stretches_of
from tuner.genome.sequence import Codes

Index = NDArray[np.int64]

WORD: Final = 16
STRETCH: Final = 30
"""Bases of a common stretch that makes two sequences relatives, whatever else they hold."""
LEAST: Final = STRETCH - WORD + 1
"""Different words that relatives share at least: those of one common stretch."""
COMMON: Final = 100
"""A word that more sequences hold is no evidence that two of them are relatives: it belongs to a motif or a repeat."""
_PORTION: Final = 1 << 16  # words sorted at a time, with 24 to 32 bytes each; more in large data
_PAIRS: Final = 1 << 18  # pairs counted at a time


def relatives(codes: Codes) -> Index:
    """Number sequences so that relatives, and whatever a chain of relatives links, have the same number.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8

    Returns
    -------
    numpy.ndarray, shape=(n,), int64
        The smallest row number of each sequence's cluster.
    """
    n = len(codes)
    cluster = np.arange(n, dtype=np.int64)
    near = _candidates(codes)
    if len(near) < 2:
        return cluster
    some = codes[near]
    within = np.arange(len(near), dtype=np.int64)
    for words, rows in shared_words(some, STRETCH, portion(some), _stretches):
        same = words[1:] == words[:-1]
        within = linked(within, rows[:-1][same], rows[1:][same])
    for first, second in _alike(some, within):
        within = linked(within, first, second)
    cluster[near] = near[within]
    return cluster


def related(train: Codes, other: Codes) -> NDArray[np.bool_]:
    """Say which sequences of a split have a relative among the training sequences.

    Parameters
    ----------
    train, other : numpy.ndarray, shape=(n, length) and (m, length), uint8
        Of one length.

    Returns
    -------
    numpy.ndarray, shape=(m,), bool
    """
    codes = np.concatenate([train, other])
    near = _candidates(codes)
    some, known = codes[near], near < len(train)
    found = np.zeros(len(codes), dtype=bool)
    for words, rows in shared_words(some, STRETCH, portion(some), _stretches):
        begins = np.flatnonzero(np.append(True, words[1:] != words[:-1])[: len(words)])
        size = np.diff(np.append(begins, len(words)))
        if len(begins):
            taught = np.repeat(np.logical_or.reduceat(known[rows], begins), size)
            found[near[rows[taught]]] = True
    side = np.where(known, 0, 1 + found[near])  # who has a relative already need not be compared again
    for first, second in _alike(some, side, between=(0, 1)):
        found[near[first]] = found[near[second]] = True
    return found[len(train) :]


def linked(cluster: Index, first: NDArray[Any], second: NDArray[Any]) -> Index:
    """Join the clusters of the rows `first` and `second`; each cluster keeps its smallest number.

    Parameters
    ----------
    cluster : numpy.ndarray, shape=(n,), int64
        Cluster of each row: the smallest row number in it.
    first, second : numpy.ndarray, shape=(m,), int
        Row numbers.

    Returns
    -------
    numpy.ndarray, shape=(n,), int64
    """
    if not len(first):
        return cluster
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    a, b = cluster[first], cluster[second]
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(len(cluster), len(cluster)))
    component = connected_components(graph, directed=False)[1]
    smallest = np.full(component.max() + 1, len(cluster), dtype=np.int64)
    np.minimum.at(smallest, component, np.arange(len(cluster)))
    return np.asarray(smallest[component][cluster], dtype=np.int64)


def _stretches(codes: Codes) -> tuple[Words, NDArray[np.bool_]]:
    return stretches_of(codes, STRETCH, WORD)


def portion(codes: Codes) -> int:
    """Words to sort at a time: in large data a sixth of all, which takes 5 bytes a base and six passes."""
    return max(_PORTION, codes.size // 6)


def _candidates(codes: Codes) -> Index:
    """The rows that share enough words with any others, of whatever sequences, to have a relative at all."""
    shared = np.zeros(len(codes), dtype=np.int64)
    for _, rows in shared_words(codes, WORD, portion(codes)):
        shared += np.bincount(rows, minlength=len(codes))
    return np.flatnonzero(shared >= LEAST)


def _alike(codes: Codes, side: Index, between: tuple[int, int] | None = None) -> Iterator[tuple[Rows, Rows]]:
    """List the pairs of rows of different sides (of the two named ones) that share enough words."""
    kept: list[tuple[Words, Rows]] = []
    for words, rows in shared_words(codes, WORD, portion(codes)):
        first = np.flatnonzero(np.append(True, words[1:] != words[:-1])[: len(words)])
        if not len(first):
            continue
        size = np.diff(np.append(first, len(words)))
        own = side[rows]
        mixed = np.minimum.reduceat(own, first) != np.maximum.reduceat(own, first)
        use = np.repeat(mixed & (size <= COMMON), size)
        kept.append((words[use], rows[use]))
    if not any(len(words) for words, _ in kept):
        return
    words, rows = (np.concatenate(part) for part in zip(*kept, strict=True))
    # How many later rows hold the same word: the pairs of which a row is the first.
    last = _ends(words)
    pairs = np.bincount(rows, weights=last - np.arange(len(words)) - 1, minlength=len(codes))
    block = (np.cumsum(pairs) // _PAIRS).astype(np.int64)  # blocks of first rows with about so many pairs each
    for number in range(int(block[-1]) + 1):
        begin = np.flatnonzero(block[rows] == number)
        found = []
        for ahead in range(1, COMMON):
            begin = begin[begin + ahead < last[begin]]
            if not len(begin):
                break
            a, b = rows[begin], rows[begin + ahead]
            use = side[a] != side[b]
            if between is not None:
                use &= np.isin(side[a], between) & np.isin(side[b], between)
            found.append(a[use].astype(np.uint64) << np.uint64(32) | b[use])
        if found:
            pair, count = np.unique(np.concatenate(found), return_counts=True)
            pair = pair[count >= LEAST]
            yield (pair >> np.uint64(32)).astype(np.uint32), pair.astype(np.uint32)


def _ends(words: Words) -> Index:
    """The index after the last of each word's entries, where equal words are adjacent."""
    first = np.flatnonzero(np.append(True, words[1:] != words[:-1])[: len(words)])
    ends = np.append(first[1:], len(words))
    return np.repeat(ends, np.diff(np.append(first, len(words))))
