"""References: the shuffled copies of a sequence that its own contributions are measured against.

They are uint8 codes of shape (n, n_references, length), so that they can be stored beside the scores they gave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tuner.data.sequence import N_CODE, Codes
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.errors import AttributionError, unknown


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

    The references of a sequence are a function of the seed and of its own bases: neither the other sequences
    nor their order matter, and the first k of n references are the k references.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    n_references : int
        Shuffles a sequence.
    shuffle : str
        A key of :data:`SHUFFLES`. The known bases are shuffled as if they were adjacent; N stays where it
        is, so that it never differs from its reference.
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
