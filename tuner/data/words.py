"""Words of sequences: all stretches of k bases, one number for both strands, without N and without simple repeats.

A word of k bases is the number whose base-4 digits are its bases; of a word and its reverse complement the smaller
number stands for both. Words with an N have none. Simple repeats (poly-A, CACACA..., telomeres) occur in unrelated
sequences, so words with few distinct triplets of bases are left out too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tuner.genome.sequence import N_CODE, Codes

Words = NDArray[np.uint64]
Rows = NDArray[np.uint32]
Read = Callable[[Codes], tuple[Words, NDArray[np.bool_]]]

LONGEST: Final = 31  # bp: two bits a base in 64 bits, and the largest number stays free
FEWEST_TRIPLETS: Final = 0.4
"""Least share of distinct triplets in a word. A repeat of period p has at most p of them: of the 14 triplets of a word
of 16 bases, a repeat of period 5 has 5 (.36). Of random words of 16 bases, 2 in 100,000 have so few."""
_CHUNK: Final = 1 << 14  # words made at a time, with about 60 bytes each
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing (Knuth, TAOCP 3, section 6.4)


def words_of(codes: Codes, k: int) -> tuple[Words, NDArray[np.bool_]]:
    """Read the word that begins at each position.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    k : int
        Bases of a word, 3 to 31.

    Returns
    -------
    words : numpy.ndarray, shape=(n, length - k + 1), uint64
        The same for a word and its reverse complement.
    known : numpy.ndarray, shape=(n, length - k + 1), bool
        Whether the word counts: it has no N and is no simple repeat.
    """
    n, length = codes.shape
    places = max(0, length - k + 1)
    if not places:
        return np.zeros((n, 0), dtype=np.uint64), np.zeros((n, 0), dtype=bool)
    unknown = codes == N_CODE
    bases = np.where(unknown, 0, codes).astype(np.uint64)
    ahead, back = _grown(bases, np.uint64(3) - bases, k)
    gaps = np.zeros((n, length + 1), dtype=np.int32)
    np.cumsum(unknown, axis=1, out=gaps[:, 1:])
    known = gaps[:, k:] == gaps[:, : length + 1 - k]
    triplet = bases[:, :-2] << np.uint64(4) | bases[:, 1:-1] << np.uint64(2) | bases[:, 2:]
    seen = _any_of(np.uint64(1) << triplet, k - 2)
    known &= np.bitwise_count(seen) >= FEWEST_TRIPLETS * (k - 2)
    return np.minimum(ahead, back), known


def _grown(ahead: Words, back: Words, k: int) -> tuple[Words, Words]:
    """Join words of 1, 2, 4, ... bases to words of k bases, on both strands."""
    parts: tuple[Words, Words] | None = None
    have, size = 0, 1
    while True:
        if k & size:
            if parts is None:
                parts, have = (ahead, back), size
            else:
                parts, have = _joined(parts, have, (ahead, back), size), have + size
        if have == k and parts is not None:
            return parts
        ahead, back = _joined((ahead, back), size, (ahead, back), size)
        size *= 2


def _joined(first: tuple[Words, Words], a: int, then: tuple[Words, Words], b: int) -> tuple[Words, Words]:
    places = then[0].shape[1] - a
    ahead, back = first[0][:, :places], first[1][:, :places]
    shift_a, shift_b = np.uint64(2 * a), np.uint64(2 * b)
    return ahead << shift_b | then[0][:, a:], then[1][:, a:] << shift_a | back


def _any_of(bits: NDArray[Any], width: int) -> NDArray[Any]:
    """Combine `width` neighbours in each row by OR."""
    size = 1
    while size < width:
        step = min(size, width - size)
        bits = bits[:, :-step] | bits[:, step:]
        size += step
    return bits


def stretches_of(codes: Codes, k: int, word: int) -> tuple[Words, NDArray[np.bool_]]:
    """Read the stretch of k bases that begins at each position, as `words_of`, by the words of which it consists.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    k, word : int
        Bases of a stretch, at most 31, and of a word, at most k.

    Returns
    -------
    stretches : numpy.ndarray, shape=(n, length - k + 1), uint64
    known : numpy.ndarray, shape=(n, length - k + 1), bool
        Whether all k - word + 1 words of the stretch count and differ from each other.
    """
    stretches = words_of(codes, k)[0]
    if not stretches.size:
        return stretches, np.zeros(stretches.shape, dtype=bool)
    words, known = words_of(codes, word)
    within = k - word + 1
    broken = _any_of(~known, within)
    for apart in range(1, within):
        broken |= _any_of(words[:, apart:] == words[:, :-apart], within - apart)
    return stretches, ~broken


def shared_words(codes: Codes, k: int, most: int, read: Read | None = None) -> Iterator[tuple[Words, Rows]]:
    """List the words that at least two sequences hold, in portions.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    k : int
        Bases of a word.
    most : int
        About how many words a portion may be made from; memory is 24 bytes for each.
    read : callable, optional
        What reads the words of some sequences, and says which of them count; by default `words_of`.

    Yields
    ------
    words : numpy.ndarray, shape=(m,), uint64
        Sorted. A word is in one portion only.
    rows : numpy.ndarray, shape=(m,), uint32
        The sequences that hold them; each once for each word, in ascending order.
    """
    n, length = codes.shape
    total = n * max(0, length - k + 1)
    portions = max(1, -(-total // most))
    step = max(1, _CHUNK // max(1, length))
    for portion in range(portions if total else 0):
        found, places = [], []
        for start in range(0, n, step):
            part = codes[start : start + step]
            words, known = words_of(part, k) if read is None else read(part)
            if portions > 1:
                known &= _portion_of(words, portions) == portion
            found.append(words[known])
            places.append((np.nonzero(known)[0] + start).astype(np.uint32))
        yield repeated_words(np.concatenate(found), np.concatenate(places), k)


def _portion_of(words: Words, portions: int) -> Words:
    mixed = (words * _MULTIPLIER) >> np.uint64(32)  # the upper half of the product depends on every base
    return mixed * np.uint64(portions) >> np.uint64(32)


def repeated_words(words: Words, rows: Rows, k: int) -> tuple[Words, Rows]:
    """Sort words of k bases with their rows, and keep those that two rows or more hold, each row once."""
    words, rows = sorted_words(words, rows, k)
    again = words[1:] == words[:-1]
    keep = np.zeros(len(words), dtype=bool)
    keep[:-1] |= again
    keep[1:] |= again
    return words[keep], rows[keep]


def sorted_words(words: Words, rows: Rows, k: int) -> tuple[Words, Rows]:
    """Sort words of k bases by word and row, without repeats within a row."""
    if k <= 16:  # word and row fit into one number, and sorting numbers is faster than sorting their places
        both = np.sort(words << np.uint64(32) | rows)
        both = both[np.append(True, both[1:] != both[:-1])[: len(both)]]
        return both >> np.uint64(32), both.astype(np.uint32)
    order = np.lexsort((rows, words))
    words, rows = words[order], rows[order]
    fresh = np.append(True, (words[1:] != words[:-1]) | (rows[1:] != rows[:-1]))[: len(words)]
    return words[fresh], rows[fresh]
