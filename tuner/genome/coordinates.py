"""Genomic coordinates: read from the headers of FASTA files, written back, and compared.

Positions are 0-based and half-open, as in BED. Headers are written in two ways: by bedtools as in BED
(``chr1:100-500``), by samtools and the UCSC browser counted from 1 with both ends (``chr1:101-500``,
``range=chr1:101-500``). The length of the sequence says which one a header means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

Strand = Literal["+", "-", "."]

_NUMBER: Final = r"\d{1,3}(?:,\d{3})+|\d{1,15}"
_PLACE: Final = re.compile(
    rf"(?P<before>^|::|=|[\s|;])(?P<chrom>[^\s:=|;,]+):(?P<start>{_NUMBER})(?:-|\.\.)(?P<end>{_NUMBER})"
    r"(?:\((?P<strand>[+.-])\)|:(?P<last>[+-]))?(?=$|[\s|;,])"
)
_UCSC: Final = re.compile(r"(?:^|\s)range=")
_STRAND: Final = re.compile(r"(?:^|\s)strand=([+-])(?=\s|$)")


class Interval(NamedTuple):
    """A stretch of a chromosome.

    Attributes
    ----------
    chrom : str
        Name of the chromosome, as its file writes it.
    start, end : int, bp
        0-based and half-open.
    strand : str
        ``+``, ``-``, or ``.`` if it is unknown.
    """

    chrom: str
    start: int
    end: int
    strand: Strand = "."


def parse_interval(header: str, length: int | None = None) -> Interval | None:
    """Read the coordinates in the header of a FASTA record, or in a name.

    Parameters
    ----------
    header : str
        E.g. ``chr1:100-500``, ``name::chr1:100-500(+)`` or ``hg38_dna range=chr1:101-500 strand=-``, without ``>``.
        Numbers may have commas.
    length : int, optional, bp
        Length of the sequence. If it is that of the numbers counted from 1 with both ends, they are read like this;
        otherwise as in BED. What follows ``range=`` is always counted from 1.

    Returns
    -------
    Interval or None
        The first coordinates in the header; None if it has none.
    """
    for found in _PLACE.finditer(header):
        start, end = (int(found[name].replace(",", "")) for name in ("start", "end"))
        if (_UCSC.search(header) is not None or length == end - start + 1) and start > 0:
            start -= 1
        if start >= end:
            continue
        stated = _STRAND.search(header)
        strand = found["strand"] or found["last"] or (stated[1] if stated else ".")
        return Interval(found["chrom"], start, end, cast(Strand, strand))
    return None


def format_interval(interval: Interval) -> str:
    """Write coordinates as bedtools does: ``chr1:100-500(+)``, or ``chr1:100-500`` if the strand is unknown."""
    strand = "" if interval.strand == "." else f"({interval.strand})"
    return f"{interval.chrom}:{interval.start}-{interval.end}{strand}"


def overlapping(intervals: Sequence[Interval | None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Link intervals that share at least one base, on either strand.

    Parameters
    ----------
    intervals : sequence of Interval or None
        None overlaps nothing.

    Returns
    -------
    tuple of numpy.ndarray, shape=(m,), int64
        Two rows for each link. Rows are linked through a chain of links exactly if a chain of overlaps links them.
    """
    rows = np.array([i for i, interval in enumerate(intervals) if interval is not None], dtype=np.int64)
    known = [interval for interval in intervals if interval is not None]
    if len(known) < 2:
        return rows[:0], rows[:0]
    number = {name: i for i, name in enumerate(sorted({interval.chrom for interval in known}))}
    chrom = np.array([number[interval.chrom] for interval in known])
    start = np.array([interval.start for interval in known], dtype=np.int64)
    end = np.array([interval.end for interval in known], dtype=np.int64)
    order = np.lexsort((end, start, chrom))
    far = int(end.max()) + 1  # chromosomes are laid one after another, so that one running maximum serves them all
    begins, reaches = start[order] + far * chrom[order], np.maximum.accumulate(end[order] + far * chrom[order])
    touch = begins[1:] < reaches[:-1]
    return rows[order[:-1][touch]], rows[order[1:][touch]]
