"""From peaks to sites: windows of one length around the summits, and a count of every peak that gives none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError
from tuner.genome.assemblies import fitting
from tuner.genome.chromosomes import is_main, main_names, match_names
from tuner.genome.genome import Genome
from tuner.genome.intervals import Axis, Index, Regions, ranked, strongest, union, window_letters
from tuner.genome.peaks import Peaks
from tuner.genome.sequence import N_CODE, encode_letters

RESOLVED: Final = 0.9
"""Smallest share of peaks whose chromosome the genome must have."""
MOST_N: Final = 0.1
"""Largest share of N in a window."""


@dataclass(frozen=True, eq=False)
class Sites:
    """Windows of one length.

    Parameters
    ----------
    start : numpy.ndarray, shape=(n,), int64
        First position, on the axis.
    strand : numpy.ndarray, shape=(n,), str
        ``+``, ``-`` or ``.``.
    signal : numpy.ndarray, shape=(n,), float64
        NaN if unknown.
    drops : dict of str to int
        Reason -> number of peaks that gave no site, in the order in which they were dropped.
    """

    start: Index
    strand: NDArray[np.str_]
    signal: NDArray[np.float64]
    drops: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.start)

    def take(self, index: NDArray[Any]) -> Sites:
        """Return the sites that an integer or boolean index selects."""
        return replace(self, start=self.start[index], strand=self.strand[index], signal=self.signal[index])

    def without(self, dropped: NDArray[np.bool_], reason: str) -> Sites:
        """Drop sites and count them."""
        drops = dict(self.drops)
        if dropped.any():
            drops[reason] = drops.get(reason, 0) + int(dropped.sum())
        return replace(self.take(~dropped), drops=drops)


class Located(NamedTuple):
    """Peaks on the axis of a genome.

    Attributes
    ----------
    peaks : Peaks
        Those whose chromosome the genome has.
    start, end, centre : numpy.ndarray, shape=(n,), int64
        On the axis.
    missing : int
        Peaks on chromosomes that the genome does not have.
    alternative : int
        Those of them on alternative contigs or organelles.
    """

    peaks: Peaks
    start: Index
    end: Index
    centre: Index
    missing: int
    alternative: int


def locate(
    peaks: Peaks,
    genome: Genome,
    axis: Axis,
    table: Mapping[str, tuple[str, ...]] | None = None,
    *,
    least: float = RESOLVED,
) -> Located:
    """Find the chromosome of every peak in a genome, and check that it fits.

    Parameters
    ----------
    peaks : Peaks
    genome : Genome
    axis : Axis
        Of the genome's sizes.
    table : mapping of str to tuple of str, optional
        Aliases of the user; see `tuner.genome.chromosomes.match_names`.
    least : float
        Smallest share of the peaks on main chromosomes that must lie on chromosomes of the genome.

    Returns
    -------
    Located

    Raises
    ------
    DataError
        If fewer of the peaks on main chromosomes lie on chromosomes of the genome, or the summit or middle of
        a peak lies past the end of its chromosome; names the assembly to which the peaks fit.
    """
    distinct = np.unique(peaks.chrom).tolist()
    found = match_names(distinct, genome.sizes, table)
    number = axis.numbers(peaks.chrom, found)
    main = np.isin(peaks.chrom, [name for name in distinct if is_main(name)])
    resolved = number >= 0
    judged = main if main.any() else np.ones(len(peaks), dtype=bool)
    share = float(resolved[judged].mean())
    if share < least:
        lost = [name for name in distinct if name not in found]
        raise DataError(
            f"{peaks.name}: only {int(resolved[judged].sum())} of {int(judged.sum())} peaks lie on chromosomes of "
            f"{genome.name}. The peaks are on {_three(lost)}; the genome has {_three(list(genome.sizes))}. Give the "
            f"genome of the peaks, or a table of two columns with aliases = FILE."
        )
    kept = peaks.take(resolved)
    number = number[resolved]
    past = kept.centre - axis.sizes[number]  # a peak that only overhangs may have been extended by its caller
    if (past >= 0).any():
        raise DataError(_past(kept, genome, axis, number, past))
    offset = axis.offset[number]
    end = np.minimum(kept.end, axis.sizes[number])
    return Located(
        kept, kept.start + offset, end + offset, kept.centre + offset,
        int((~resolved).sum()), int((~resolved & ~main).sum()),
    )  # fmt: skip


def _three(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _past(peaks: Peaks, genome: Genome, axis: Axis, number: Index, past: Index) -> str:
    """Word the error of peaks past the end of their chromosome."""
    first = int(np.flatnonzero(past >= 0)[0])
    others = int((past >= 0).sum()) - 1
    ends: dict[str, int] = {}
    for name in np.unique(peaks.chrom).tolist():
        if is_main(name):
            ends[name] = int(peaks.end[peaks.chrom == name].max())
    here = genome.assembly.assembly if genome.assembly else None
    likely = [assembly for assembly in fitting(ends) if assembly != here]
    which = f" ({here})" if here else ""
    more = f", and so are {others} others of {len(peaks)}" if others else ""
    fits = f" The peaks fit {' or '.join(likely)}." if likely else ""
    sizes = genome.assembly.other_sizes if genome.assembly else ""
    cut = f" In {genome.name}, {sizes}" if sizes else ""
    return (
        f"{peaks.where(first)} is past the end of {axis.names[number[first]]} in {genome.name}{which}, which has "
        f"{axis.sizes[number[first]]:,} bp{more}.{fits} Give the genome to which the reads were mapped.{cut}"
    )


def make_sites(
    located: Located, genome: Genome, axis: Axis, length: int, *, blacklist: Regions, top: int | None = None
) -> Sites:
    """Place a window around each summit and drop what cannot be used.

    Parameters
    ----------
    located : Located
    genome : Genome
    axis : Axis
        Of the genome's sizes.
    length : int, bp
        Length of the windows.
    blacklist : Regions
        Windows that touch these are dropped.
    top : int, optional
        Number of strongest sites to keep; of equal signals the first.

    Returns
    -------
    Sites
        In the order of the file. Windows whose centres lie nearer than half a window to a stronger one are dropped.
    """
    peaks = located.peaks
    drops: dict[str, int] = {}
    if located.missing - located.alternative:
        drops["are on chromosomes that the genome lacks"] = located.missing - located.alternative
    if located.alternative:
        drops[_ALTERNATIVE] = located.alternative
    sites = Sites(located.centre - length // 2, peaks.strand, peaks.signal, drops)
    number = axis.chromosome(located.start)
    empty = peaks.end == peaks.start
    chromosomes = main_names(axis.names)
    main = np.array([name in chromosomes for name in axis.names])
    sites = sites.without(empty, "have no length")
    number = number[~empty]
    other = ~main[number]
    sites, number = sites.without(other, _ALTERNATIVE), number[~other]
    first = sites.start - axis.offset[number]
    off = (first < 0) | (first + length > axis.sizes[number])
    sites = sites.without(off, "have a window that runs off its chromosome")
    sites = sites.without(blacklist.touched(sites.start, sites.start + length), "have a window on the blacklist")
    unknown = unknown_share(genome, axis, sites.start, length)
    sites = sites.without(unknown > MOST_N, f"have more than {MOST_N:.0%} N in their window")
    near = ~strongest(sites.start, sites.signal, length / 2)
    sites = sites.without(near, f"are nearer than {length / 2:g} bp to a stronger one")
    if top is not None and len(sites) > top:
        kept = np.zeros(len(sites), dtype=bool)
        kept[ranked(sites.signal)[:top]] = True
        sites = sites.without(~kept, f"are weaker than the top {top}")
    return sites


_ALTERNATIVE: Final = "are on alternative contigs or organelles"


def unknown_share(genome: Genome, axis: Axis, start: Index, length: int) -> NDArray[np.float64]:
    """Share of N in each window; shape=(n,)."""
    share = np.zeros(len(start))
    step = max(1, (1 << 26) // length)
    order = np.argsort(start, kind="stable")
    for at in range(0, len(start), step):
        rows = order[at : at + step]
        codes = encode_letters(window_letters(genome, axis, start[rows], length), genome.name)
        share[rows] = (codes == N_CODE).mean(axis=1)
    return share


def zones(located: Located, length: int) -> Regions:
    """Everything nearer than one window to a peak or to the window of its summit.

    Parameters
    ----------
    located : Located
    length : int, bp
        Length of the windows.

    Returns
    -------
    Regions
    """
    half = length // 2
    low = np.minimum(located.start, located.centre - half) - length
    high = np.maximum(located.end, located.centre - half + length) + length
    return union(low, high)


def describe_drops(name: str, n_peaks: int, sites: Sites) -> str:
    """The table of drops in one sentence, for the notes of the data set."""
    text = f"{name}: {n_peaks} peaks gave {len(sites)} sites"
    if not sites.drops:
        return f"{text}; none was dropped."
    return f"{text}; of the others, {', '.join(f'{n} {reason}' for reason, n in sites.drops.items())}."
