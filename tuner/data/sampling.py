"""Draws sequences from probability matrices; shared by all simulators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.genome.sequence import Codes

Matrix = NDArray[np.float64]

UNIFORM: Final = 0.25


def draw(model: NDArray[np.floating], uniforms: Matrix) -> Codes:
    """Draw one base per position by inverting the cumulative probabilities.

    Parameters
    ----------
    model : numpy.ndarray, shape=(..., 4, length)
        Columns sum to 1.
    uniforms : numpy.ndarray, shape=(..., length), float64
        In [0, 1).

    Returns
    -------
    numpy.ndarray, shape=(..., length), uint8
        At each position the first base whose cumulative probability exceeds the uniform number.
    """
    cumulative = np.cumsum(model, axis=-2)[..., :3, :]
    return np.asarray((uniforms[..., None, :] >= cumulative).sum(axis=-2), dtype=np.uint8)


def reverse_complement_matrix(ppm: Matrix) -> Matrix:
    """Return a matrix, shape=(4, width), on the other strand."""
    return ppm[::-1, ::-1]


def both_strands(ppms: Sequence[Matrix]) -> list[Matrix]:
    """List each matrix followed by its reverse complement, so that index // 2 is the motif."""
    return [matrix for ppm in ppms for matrix in (ppm, reverse_complement_matrix(ppm))]


def plant(model: NDArray[np.floating], ppms: Sequence[Matrix], starts: Sequence[int]) -> None:
    """Write matrices, shape=(4, width), into one sequence's model, shape=(4, length), at the given starts."""
    for ppm, start in zip(ppms, starts, strict=True):
        model[:, start : start + ppm.shape[1]] = ppm
