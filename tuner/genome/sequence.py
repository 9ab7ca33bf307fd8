"""DNA as numbers: one byte per base, expanded to one-hot for the network.

Throughout this package, `codes` are uint8 arrays of shape=(n_sequences, length) with A, C, G, T = 0..3 and N = 4. One
byte per base is 16 times smaller than float32 one-hot, so whole data sets stay in memory and are expanded batch by
batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from tuner.errors import DataError

Codes = NDArray[np.uint8]

ALPHABET: Final = "ACGT"
N_CODE: Final = 4
# Ambiguity letters of IUPAC-IUB (1984). None determines a base, so all become N. U is read as T.
AMBIGUOUS: Final = "RYSWKMBDHV"
_INVALID: Final = 255


def _letter_table() -> Codes:
    table = np.full(256, _INVALID, dtype=np.uint8)
    for letters, code in (("A", 0), ("C", 1), ("G", 2), ("TU", 3), ("N" + AMBIGUOUS, N_CODE)):
        for letter in letters:
            table[ord(letter)] = table[ord(letter.lower())] = code
    return table


_CODE_OF_LETTER: Final = _letter_table()
_LETTER_OF_CODE: Final = np.frombuffer(b"ACGTN", dtype=np.uint8)
_COMPLEMENT: Final = np.array([3, 2, 1, 0, N_CODE], dtype=np.uint8)


def encode_one(sequence: str, where: str = "sequence") -> Codes:
    """Encode one sequence of any length.

    Parameters
    ----------
    sequence : str
        A, C, G, T, U, N or IUPAC ambiguity letters, in either case.
    where : str
        Name of the sequence in error messages.

    Returns
    -------
    numpy.ndarray, shape=(length,), uint8
        A, C, G, T = 0..3; all ambiguous letters = 4.

    Raises
    ------
    DataError
        If a character is not a nucleotide letter; the message names it and its 0-based position.
    """
    # Latin-1 with "replace" gives one byte per character, so a position in bytes is a position in the text.
    codes = _CODE_OF_LETTER[np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)]
    bad = np.flatnonzero(codes == _INVALID)
    if len(bad):
        raise DataError(
            f"{where}: {sequence[bad[0]]!r} at position {bad[0]} is not a nucleotide. "
            f"Allowed: A, C, G, T, U, N and the IUPAC letters {AMBIGUOUS} (read as N)."
        )
    return codes


def encode_letters(letters: NDArray[np.uint8], where: str = "sequence", first: int = 0) -> Codes:
    """Encode the letters of a part of a sequence.

    Parameters
    ----------
    letters : numpy.ndarray, shape=(..., length), uint8
        ASCII, as for `encode_one`.
    where : str
        Name of the sequence in error messages.
    first : int
        Position in the sequence of the first letter.

    Returns
    -------
    numpy.ndarray, shape=(..., length), uint8

    Raises
    ------
    DataError
        As for `encode_one`.
    """
    codes = _CODE_OF_LETTER[letters]
    if codes.size and codes.max() == _INVALID:
        at = int(np.flatnonzero(codes.reshape(-1) == _INVALID)[0])
        raise DataError(
            f"{where}: {chr(int(letters.reshape(-1)[at]))!r} at position {first + at} is not a nucleotide. "
            f"Allowed: A, C, G, T, U, N and the IUPAC letters {AMBIGUOUS} (read as N)."
        )
    return codes


def encode(sequences: Sequence[str]) -> Codes:
    """Encode sequences of equal length.

    Parameters
    ----------
    sequences : sequence of str
        As for `encode_one`.

    Returns
    -------
    numpy.ndarray, shape=(n_sequences, length), uint8

    Raises
    ------
    DataError
        If the lengths differ or a character is not a nucleotide letter.
    """
    if not sequences:
        return np.zeros((0, 0), dtype=np.uint8)
    length = len(sequences[0])
    for index, sequence in enumerate(sequences):
        if len(sequence) != length:
            raise DataError(
                f"sequence {index} has {len(sequence)} bases, sequence 0 has {length}; all must have the same length."
            )
    try:
        return encode_one("".join(sequences)).reshape(len(sequences), length)
    except DataError:
        # Encode one by one only to find out which sequence is wrong.
        return np.stack([encode_one(s, where=f"sequence {i}") for i, s in enumerate(sequences)])


def decode(codes: Codes) -> list[str]:
    """Decode codes to upper-case text, with N for 4.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n_sequences, length), uint8

    Returns
    -------
    list of str
    """
    return [row.tobytes().decode("ascii") for row in _LETTER_OF_CODE[codes]]


def one_hot(codes: Codes | torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Expand codes to one-hot.

    Parameters
    ----------
    codes : numpy.ndarray or torch.Tensor, shape=(n_sequences, length), uint8
        A tensor stays on its device.
    dtype : torch.dtype
        Type of the result.

    Returns
    -------
    torch.Tensor, shape=(n_sequences, 4, length)
        Channels A, C, G, T; all four are zero at N. The channels are adjacent in memory (strides (4 * length, 1, 4)),
        which is the layout with the fastest convolutions and the one that a channels-last network expects.
    """
    tensor = torch.as_tensor(codes)
    table = torch.eye(N_CODE + 1, 4, dtype=dtype, device=tensor.device)
    return table[tensor.int()].transpose(1, 2)  # (n, length, 4) -> (n, 4, length)


def reverse_complement(codes: Codes) -> Codes:
    """Return the reverse complement of each sequence.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(..., length), uint8

    Returns
    -------
    numpy.ndarray, shape=(..., length), uint8
        Sequences of the other strand; N stays N.
    """
    return _COMPLEMENT[codes[..., ::-1]]


def gc_content(codes: Codes) -> NDArray[np.float64]:
    """Measure the share of G and C among the known bases.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n_sequences, length), uint8

    Returns
    -------
    numpy.ndarray, shape=(n_sequences,), float64
        In [0, 1]; 0 for a sequence that is all N.
    """
    known = np.maximum((codes != N_CODE).sum(axis=1), 1)
    return np.asarray(((codes == 1) | (codes == 2)).sum(axis=1) / known, dtype=np.float64)


def cpg(codes: Codes) -> NDArray[np.float64]:
    """Measure the observed/expected ratio of CpG (Gardiner-Garden & Frommer 1987).

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n_sequences, length), uint8

    Returns
    -------
    numpy.ndarray, shape=(n_sequences,), float64
        CpG x known bases / (C x G); 0 if there is no C or no G.
    """
    observed = ((codes[:, :-1] == 1) & (codes[:, 1:] == 2)).sum(axis=1)
    c, g = (codes == 1).sum(axis=1), (codes == 2).sum(axis=1)
    known = (codes != N_CODE).sum(axis=1)
    return np.asarray(observed * known / np.maximum(c * g, 1), dtype=np.float64)
