"""References: shuffled versions of a sequence with which attribution methods compare it.

They are uint8 codes of shape=(n, n_references, length), so that they can be stored with the scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tuner.data.shuffle import dinucleotide_shuffle
from tuner.errors import AttributionError, unknown
from tuner.genome.sequence import N_CODE, Codes


def mononucleotide_shuffle(codes: Codes, *, seed: int) -> Codes:
    """Permute the bases of each sequence.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
    seed : int

    Returns
    -------
    numpy.ndarray, shape=(n, length), uint8
    """
    return np.random.default_rng(seed).permuted(codes, axis=1)


SHUFFLES: Mapping[str, Callable[..., Codes]] = MappingProxyType(
    {"dinucleotide": dinucleotide_shuffle, "mononucleotide": mononucleotide_shuffle}
)
"""Name -> function of codes, shape=(n, length), and seed."""


def make_references(
    codes: Codes, n_references: int, *, shuffle: str = "dinucleotide", seed: int = 0
) -> NDArray[np.uint8]:
    """Shuffle each sequence several times.

    The references of a sequence depend only on the seed and its own bases, not on other sequences or their order, and
    the first k of n references are those made for n = k.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    n_references : int
        Number of shuffles per sequence.
    shuffle : str
        A key of :data:`SHUFFLES`. The known bases are shuffled as if they were adjacent; N stays in place, so that
        sequence and reference never differ there.
    seed : int
        Any integer.

    Returns
    -------
    numpy.ndarray, shape=(n, n_references, length), uint8

    Raises
    ------
    AttributionError
        If the shuffle is unknown or `n_references` is below 1.
    """
    if shuffle not in SHUFFLES:
        raise AttributionError(unknown("shuffle", shuffle, SHUFFLES))
    if n_references < 1:
        raise AttributionError(f"n_references is {n_references}; must be at least 1.")
    references = np.repeat(codes[:, None, :], n_references, axis=1)
    for row, own in zip(codes, references, strict=True):
        known = row != N_CODE
        digest = hashlib.blake2b(f"{shuffle} {seed} ".encode() + row.tobytes(), digest_size=8).digest()
        own[:, known] = SHUFFLES[shuffle](own[:, known], seed=int.from_bytes(digest, "little"))
    return references
