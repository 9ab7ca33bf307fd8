"""From first-layer activations to motifs: sites, position probability matrix, trimming, gates.

At most one site per sequence counts, chosen by rank, so a matrix depends on where the filter responds most and not on
the shape of the activation function. (Half of the maximum, the rule of Koo & Ploenzke 2021, selects tens of thousands
of sites for a ReLU filter and tens for an exponential filter with the same weights.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tuner.errors import MotifError
from tuner.motifs.meme import column_information, corrected_information

MAXIMUM_SITES = 500
MAXIMUM_SHARE = 4  # at most one sequence in four has a site
TRIM_INFORMATION = 0.5  # bits
MINIMUM_SITES = 20
MINIMUM_INFORMATION = 6.0  # bits, corrected; about the first percentile of JASPAR's motifs
UNKNOWN_BASE = 4


class FilterScan(NamedTuple):
    """Where each filter of a first layer responds most in each sequence.

    Attributes
    ----------
    activation, preactivation : np.ndarray, shape=(n_sequences, n_filters)
        Value at the best position: the highest activation, ties broken by the pre-activation.
    position : np.ndarray, shape=(n_sequences, n_filters), integer
        The best position in the convolution's output, 0-based.
    floor : np.ndarray, shape=(n_filters,)
        Lowest activation of each filter over all positions of all sequences.
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
        Trimmed matrix; its width is 0 if no column is above half a bit.
    sites : int
        Number of sites, each in a different sequence.
    information : float
        Information content of `ppm`, corrected for the number of sites, in bits.
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
        """Whether the filter may count: it is alive and has at least 20 sites and 6 bits."""
        return self.alive and passes_gates(self.sites, self.information)


def passes_gates(sites: float, information: float) -> bool:
    """Whether a matrix has enough sites and information (corrected, in bits) to count as a motif."""
    return sites >= MINIMUM_SITES and information >= MINIMUM_INFORMATION


def build_filters(codes: np.ndarray, scan: FilterScan, kernel_size: int, offset: int) -> tuple[Filter, ...]:
    """Build the matrix of every filter of a first layer.

    Parameters
    ----------
    codes : np.ndarray, shape=(n_sequences, length), uint8
        A, C, G, T = 0..3, N = 4. Training and validation sequences, never test.
    scan : FilterScan
        Scan of the same sequences.
    kernel_size : int
        Width of the first convolution's kernel.
    offset : int
        Padding of the convolution on the left: output position i reads from input position ``i - offset`` on.

    Returns
    -------
    tuple of Filter
        One per filter, in order.

    Raises
    ------
    MotifError
        If the shapes do not fit together.

    Notes
    -----
    Sites: the best position of each distinct sequence. Sequences are ranked by activation, then by pre-activation,
    then by their order in `codes`. The sites are the first 500, but at most a quarter of the sequences, and only
    where the activation exceeds the filter's lowest activation. Matrix: the mean one-hot window of
    ``kernel_size + 1`` bases that starts one base before the receptive field (for a kernel of 19, the window of 20 of
    Koo & Ploenzke 2021). N and positions outside the sequence count as no base; a column without any base is uniform.
    The matrix is trimmed to the columns from the first to the last above half a bit, without flanks.
    """
    codes = np.asarray(codes)
    _check_shapes(codes, scan, kernel_size)
    n_sequences, length = codes.shape
    # A sequence that occurs twice gives one site: copies of a sequence must not make a motif.
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
        above = np.flatnonzero(activation > scan.floor[index])  # false for NaN, so a broken filter counts as dead
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
            f"the filter scan has shape {shape}, which does not fit sequences of shape {codes.shape}. "
            "Scan the same sequences."
        )
    if scan.preactivation.shape != shape or scan.position.shape != shape or scan.floor.shape != shape[1:]:
        raise MotifError(
            f"filter scan: activation {shape}, preactivation {scan.preactivation.shape}, "
            f"position {scan.position.shape} and floor {scan.floor.shape} do not fit together."
        )
    if kernel_size < 1:
        raise MotifError(f"kernel_size is {kernel_size}; expected at least 1.")


def _count(padded: np.ndarray, rows: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    """Base frequencies of the windows, shape=(4, width); a column without any base is uniform."""
    starts = np.clip(starts, 0, padded.shape[1] - width)
    windows = padded[rows[:, None], starts[:, None] + np.arange(width)]  # (n_sites, width)
    counts = np.stack([(windows == base).sum(axis=0) for base in range(4)]).astype(np.float64)
    totals = counts.sum(axis=0)
    return np.where(totals > 0, counts / np.maximum(totals, 1.0), 0.25)


def trim_ppm(ppm: np.ndarray, bits: float = TRIM_INFORMATION) -> tuple[np.ndarray, int]:
    """Trim a matrix to the columns from the first to the last above half a bit.

    Parameters
    ----------
    ppm : np.ndarray, shape=(4, width)
        Probabilities.
    bits : float
        Another limit than half a bit.

    Returns
    -------
    np.ndarray, shape=(4, trimmed width); int
        The trimmed matrix, of width 0 if no column is above the limit, and the column where it begins.
    """
    strong = np.flatnonzero(column_information(ppm) > bits)
    if not len(strong):
        return ppm[:, :0], 0
    return ppm[:, strong[0] : strong[-1] + 1], int(strong[0])
