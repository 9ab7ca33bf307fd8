"""From first-layer activations to matrices: sites, position probability matrix, trim, gates.

One site a sequence, chosen by rank, so that a matrix depends on where the filter responds most and not on
the shape of the activation behind it. (Half of the maximum, the rule of Koo & Ploenzke 2021, selects tens
of thousands of sites for a ReLU filter and tens for an exponential one of the same weights.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tuner.errors import MotifError
from tuner.motifs.meme import column_information, corrected_information

MAXIMUM_SITES = 500
MAXIMUM_SHARE = 4  # at most one sequence in four is a site
TRIM_INFORMATION = 0.5  # bits
MINIMUM_SITES = 20
MINIMUM_INFORMATION = 6.0  # bits, corrected: about the first percentile of JASPAR's motifs
UNKNOWN_BASE = 4


class FilterScan(NamedTuple):
    """Where each filter of a first layer responds most in each sequence.

    Attributes
    ----------
    activation, preactivation : np.ndarray, shape=(n_sequences, n_filters)
        Value at the best position: the highest activation, ties broken by the pre-activation.
    position : np.ndarray, shape=(n_sequences, n_filters), integer
        That position in the convolution's output, 0-based.
    floor : np.ndarray, shape=(n_filters,)
        Lowest activation of each filter at any position of any sequence.
    """

    activation: np.ndarray
    preactivation: np.ndarray
    position: np.ndarray
    floor: np.ndarray


class Filter(NamedTuple):
    """The motif of one first-layer filter.

    Attributes
    ----------
    index : int
        Channel of the first convolution.
    ppm : np.ndarray, shape=(4, width), float64
        Trimmed matrix; width 0 if no column is above half a bit.
    sites : int
        Number of sites, each in another sequence.
    information : float
        Information of `ppm` corrected for the number of sites, bits.
    alive : bool
        Whether the activation ever leaves its lowest value.
    start : int
        Column of the untrimmed window where `ppm` begins.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which no one needs here
    ppm: np.ndarray
    sites: int
    information: float
    alive: bool
    start: int

    @property
    def gated(self) -> bool:
        """Whether the filter may count: alive, at least 20 sites, at least 6 bits."""
        return self.alive and passes_gates(self.sites, self.information)


def passes_gates(sites: float, information: float) -> bool:
    """Whether a matrix of so many sites and bits (corrected) is enough of a motif to be matched."""
    return sites >= MINIMUM_SITES and information >= MINIMUM_INFORMATION


def build_filters(codes: np.ndarray, scan: FilterScan, kernel_size: int, offset: int) -> tuple[Filter, ...]:
    """Build the matrix of every filter of a first layer.

    Parameters
    ----------
    codes : np.ndarray, shape=(n_sequences, length), uint8
        A, C, G, T = 0..3, N = 4. Training and validation sequences, never test.
    scan : FilterScan
        Of the same sequences.
    kernel_size : int
        Width of the first convolution's kernel.
    offset : int
        Its padding on the left: output position i reads from ``i - offset``.

    Returns
    -------
    tuple of Filter
        One per filter, in order.

    Raises
    ------
    MotifError
        Shapes that do not belong together.

    Notes
    -----
    Sites: of each distinct sequence the best position; sequences ranked by activation, ties by
    pre-activation, then by order in `codes`; the first 500, at most a quarter of the sequences, and only
    where the activation is above the filter's lowest. Matrix: mean one-hot window of ``kernel_size + 1``
    that starts one base before the receptive field (for kernel 19 the window of 20 of Koo & Ploenzke
    2021); N and what lies outside the sequence count for no base, a column of nothing else is uniform.
    Trimmed to the first..last column above half a bit, unpadded.
    """
    codes = np.asarray(codes)
    _check_shapes(codes, scan, kernel_size)
    n_sequences, length = codes.shape
    # A sequence that occurs twice is one site: copies must not make a motif.
    first: dict[bytes, int] = {}
    for number, row in enumerate(codes):
        first.setdefault(row.tobytes(), number)
    distinct = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    most = min(MAXIMUM_SITES, len(distinct) // MAXIMUM_SHARE)
    width = kernel_size + 1
    margin = width + abs(offset) + 1
    padded = np.full((n_sequences, length + 2 * margin), UNKNOWN_BASE, dtype=np.uint8)
    padded[:, margin : margin + length] = codes
    filters = []
    for index in range(scan.activation.shape[1]):
        activation = scan.activation[distinct, index]
        above = np.flatnonzero(activation > scan.floor[index])  # not NaN: a broken filter is a dead one
        alive = len(above) > 0
        if len(above) > most > 0:
            least = np.partition(activation[above], len(above) - most)[len(above) - most]
            above = above[activation[above] >= least]
        # lexsort is stable and sorts by its last key first.
        order = np.lexsort((-scan.preactivation[distinct[above], index], -activation[above]))
        chosen = distinct[above[order[:most]]]
        starts = scan.position[chosen, index].astype(np.int64) - offset - 1
        ppm, start = trim_ppm(_count(padded, chosen, starts + margin, width))
        sites = len(chosen)
        information = corrected_information(ppm, sites) if sites and ppm.shape[1] else 0.0
        filters.append(Filter(index, ppm, sites, information, alive, start))
    return tuple(filters)


def _check_shapes(codes: np.ndarray, scan: FilterScan, kernel_size: int) -> None:
    shape = scan.activation.shape
    if codes.ndim != 2 or len(shape) != 2 or codes.shape[0] != shape[0]:
        raise MotifError(
            f"filter scan of shape {shape} does not belong to sequences of shape {codes.shape}. "
            "Scan the same sequences."
        )
    if scan.preactivation.shape != shape or scan.position.shape != shape or scan.floor.shape != shape[1:]:
        raise MotifError(
            f"filter scan: activation {shape}, preactivation {scan.preactivation.shape}, "
            f"position {scan.position.shape}, floor {scan.floor.shape} do not belong together."
        )
    if kernel_size < 1:
        raise MotifError(f"kernel_size is {kernel_size}; expected at least 1.")


def _count(padded: np.ndarray, rows: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    """Base frequencies of the windows, (4, width); uniform where a column holds no base."""
    starts = np.clip(starts, 0, padded.shape[1] - width)
    windows = padded[rows[:, None], starts[:, None] + np.arange(width)]  # (n_sites, width)
    counts = np.stack([(windows == base).sum(axis=0) for base in range(4)]).astype(np.float64)
    totals = counts.sum(axis=0)
    return np.where(totals > 0, counts / np.maximum(totals, 1.0), 0.25)


def trim_ppm(ppm: np.ndarray) -> tuple[np.ndarray, int]:
    """Cut a matrix to its first..last column above half a bit.

    Parameters
    ----------
    ppm : np.ndarray, shape=(4, width)
        Probabilities.

    Returns
    -------
    np.ndarray, shape=(4, trimmed width); int
        What is left, of width 0 if no column is above half a bit, and the column where it begins.
    """
    strong = np.flatnonzero(column_information(ppm) > TRIM_INFORMATION)
    if not len(strong):
        return ppm[:, :0], 0
    return ppm[:, strong[0] : strong[-1] + 1], int(strong[0])
