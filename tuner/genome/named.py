"""A genome under somebody else's names of its chromosomes, read in windows that may reach past an end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tuner.genome.chromosomes import match_names, read_aliases
from tuner.genome.genome import Genome
from tuner.genome.sequence import N_CODE, Codes


class NamedGenome:
    """A genome and a table of aliases.

    Parameters
    ----------
    genome : Genome
        Open.
    aliases : str or Path, optional
        Table of chromosome names, as for `tuner.genome.chromosomes.read_aliases`.

    Raises
    ------
    DataError
        The table cannot be read.
    """

    def __init__(self, genome: Genome, aliases: str | Path | None = None) -> None:
        self.genome = genome
        self._table: Mapping[str, tuple[str, ...]] | None = None if aliases is None else read_aliases(Path(aliases))

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """Name in use -> name in the genome; a name that means no chromosome of it is left out."""
        return match_names(names, self.genome.sizes, self._table)

    def window(self, chrom: str, start: int, end: int) -> Codes:
        """Read an interval, with N where it reaches past an end of its chromosome.

        Parameters
        ----------
        chrom : str
            Name in the genome.
        start, end : int, bp
            0-based, half-open; `start` may be negative, and `end` past the end.

        Returns
        -------
        numpy.ndarray, shape=(end - start,), uint8
            A, C, G, T = 0..3, N = 4, on the forward strand.

        Raises
        ------
        DataError
            There is no such chromosome, or the file holds a character that is not a nucleotide.
        """
        size = self.genome.sizes.get(chrom, 0)
        low, high = min(max(start, 0), size), max(min(end, size), 0)
        inside = self.genome.codes(chrom, low, max(low, high))
        if len(inside) == end - start:
            return inside
        window = np.full(end - start, N_CODE, dtype=np.uint8)
        if len(inside):
            window[low - start : low - start + len(inside)] = inside
        return window
