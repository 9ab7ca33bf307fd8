"""Scan sequences with position weight matrices: the best log-odds on either strand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import conv2d, pad

from tuner.genome.sequence import one_hot

# Fraction of the uniform background that is mixed into each column, like one pseudocount per thousand sites. The best
# motif ranks the training sequences of ZBED2 and IRF1 better with .001 than with .01 or .05.
_PSEUDO_SHARE = 0.001
_BACKGROUND = 0.25
# Number of float32 outputs of one convolution, (batch, 2 motifs, positions): 2 MB stay in a CPU's cache; with 40 MB the
# same scan takes twice as long.
_BLOCK_CELLS = 500_000
_STEPS = 1000  # of the grid of scores, per bit


def log_odds(ppm: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Turn probabilities into log-odds against a uniform background.

    Parameters
    ----------
    ppm : numpy.ndarray, shape=(4, width)
        Probabilities of A, C, G, T; columns sum to 1.

    Returns
    -------
    numpy.ndarray, shape=(4, width), bits
    """
    mixed = (1 - _PSEUDO_SHARE) * np.asarray(ppm, dtype=np.float64) + _PSEUDO_SHARE * _BACKGROUND
    return np.asarray(np.log2(mixed / _BACKGROUND))


def best_scores(codes: npt.NDArray[np.uint8], ppms: Sequence[npt.NDArray[np.floating]]) -> npt.NDArray[np.float32]:
    """Score each sequence by its best window for each matrix, on either strand.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3; N = 4 adds 0 bits to a window. A sequence shorter than a matrix is extended with N.
    ppms : sequence of numpy.ndarray, shape=(4, width)
        Probabilities of A, C, G, T; columns sum to 1.

    Returns
    -------
    numpy.ndarray, shape=(n, n_ppms), float32, bits
    """
    best = np.empty((len(codes), len(ppms)), dtype=np.float32)
    by_width: dict[int, list[int]] = {}
    for index, ppm in enumerate(ppms):
        by_width.setdefault(ppm.shape[1], []).append(index)
    for width, members in by_width.items():
        forward = np.stack([log_odds(ppms[index]) for index in members])  # (m, 4, width)
        both = np.concatenate([forward, forward[:, ::-1, ::-1]])  # ACGT reversed is its complement
        kernels = torch.from_numpy(both.astype(np.float32)).unsqueeze(2)  # (2 m, 4, 1, width)
        kernels = kernels.contiguous(memory_format=torch.channels_last)
        batch = max(1, _BLOCK_CELLS // (len(both) * max(codes.shape[1], width)))
        for start in range(0, len(codes), batch):
            x = one_hot(codes[start : start + batch]).unsqueeze(2)  # (batch, 4, 1, length)
            x = pad(x, (0, max(0, width - codes.shape[1])))
            peaks = conv2d(x, kernels).amax(dim=(2, 3))  # (batch, 2 m)
            strands = peaks.view(len(peaks), 2, len(members)).amax(dim=1)
            best[start : start + batch, members] = strands.numpy()
    return best


class Sites(NamedTuple):
    """The best window of each sequence for one matrix, on either strand.

    Attributes
    ----------
    scores : numpy.ndarray, shape=(n,), float32, bits
        Log-odds of the window.
    centres : numpy.ndarray, shape=(n,), float64, bp
        Its middle, counted from the first base; between two bases it ends in .5. The leftmost of equal windows counts.
    reverse : numpy.ndarray, shape=(n,), bool
        Whether the window fits on the reverse strand.
    """

    scores: npt.NDArray[np.float32]
    centres: npt.NDArray[np.float64]
    reverse: npt.NDArray[np.bool_]


def best_sites(codes: npt.NDArray[np.uint8], ppm: npt.NDArray[np.floating]) -> Sites:
    """Find the best window of each sequence for one matrix.

    Parameters
    ----------
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3; N = 4 adds 0 bits to a window. At least as long as the matrix.
    ppm : numpy.ndarray, shape=(4, width)
        Columns sum to 1.

    Returns
    -------
    Sites
    """
    width = ppm.shape[1]
    forward = log_odds(ppm)
    kernels = torch.from_numpy(np.stack([forward, forward[::-1, ::-1]]).astype(np.float32)).unsqueeze(2)
    kernels = kernels.contiguous(memory_format=torch.channels_last)
    scores = np.empty(len(codes), dtype=np.float32)
    starts, reverse = np.empty(len(codes), dtype=np.int64), np.empty(len(codes), dtype=bool)
    batch = max(1, _BLOCK_CELLS // (2 * codes.shape[1]))
    for start in range(0, len(codes), batch):
        rows = slice(start, start + batch)
        strands, strand = conv2d(one_hot(codes[rows]).unsqueeze(2), kernels).squeeze(2).max(dim=1)  # (batch, positions)
        best, place = strands.max(dim=1)
        scores[rows], starts[rows] = best.numpy(), place.numpy()
        reverse[rows] = strand.gather(1, place[:, None]).squeeze(1).numpy() == 1
    return Sites(scores, starts + (width - 1) / 2, reverse)


def threshold(ppm: npt.NDArray[np.floating], p_value: float) -> float:
    """Lowest score that a window of random bases reaches with at most this probability.

    Parameters
    ----------
    ppm : numpy.ndarray, shape=(4, width)
        Columns sum to 1.
    p_value : float
        Probability for one window of equally frequent bases.

    Returns
    -------
    float, bits
        Computed on a grid of 1/1000 bit; infinity if no window is that rare.
    """
    steps = np.round(log_odds(ppm) * _STEPS).astype(np.int64)  # (4, width)
    lowest = steps.min(axis=0)
    chances = np.ones(1)
    for column, low in zip(steps.T, lowest, strict=True):
        wider = np.zeros(len(chances) + int(column.max() - low))
        for step in column - low:
            wider[step : step + len(chances)] += _BACKGROUND * chances
        chances = wider
    above = np.cumsum(chances[::-1])[::-1]  # probability of this score or more
    fitting = np.flatnonzero(above <= p_value * (1 + 1e-9))
    return math.inf if not len(fitting) else float((fitting[0] + lowest.sum() - 0.5) / _STEPS)
