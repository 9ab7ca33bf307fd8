"""The match fraction as Koo & Ploenzke (2021) compute it, only for comparison with their published numbers.

Sites are all positions above half of a filter's maximum, so a ReLU filter is averaged over tens of thousands of windows
and an exponential one over a few dozen: the number measures the method as much as the filter. There are no gates, the
divisor is the number of filters, and every target counts. Objectives of a search use `tuner.motifs.match` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from tuner.errors import MotifError
from tuner.motifs.database import MotifDatabase
from tuner.motifs.meme import Motif
from tuner.motifs.tomtom import tomtom

WINDOW: Final = 20  # bp, for every kernel size
MATCH_E: Final = 0.1
TRIM_INFORMATION: Final = 0.5  # bits
MARGIN: Final = 3  # columns kept on either side of the informative ones
FEWEST_SITES: Final = 2
# The published target file omits MA0615.1, which flat matrices match.
LEFT_OUT: Final = frozenset({"MA0615.1"})


class KooMatch(NamedTuple):
    """Match fractions of one layer as published.

    Attributes
    ----------
    match_fraction : float
        Filters with a target at E <= .1, over all filters ("match JASPAR").
    target_fraction : float
        Filters with a named target at E <= .1, over all filters ("match ground truth").
    coverage : float
        Named families that any filter matches, over all named families; 0 if none is named.
    """

    match_fraction: float
    target_fraction: float
    coverage: float


def koo_ppm(counts: np.ndarray, sites: int) -> np.ndarray:
    """Build the trimmed matrix of one filter.

    Parameters
    ----------
    counts : np.ndarray, shape=(4, 20)
        Number of bases in each column of the windows around the sites.
    sites : int
        Number of windows.

    Returns
    -------
    np.ndarray, shape=(4, width), float64
        Rounded to four decimals, as in the published MEME files; uniform if there are fewer than two windows.
    """
    if sites < FEWEST_SITES:
        return np.full((4, WINDOW), 0.25)
    ppm = np.asarray(counts, dtype=np.float64) / sites
    # N counts in no row, so columns sum to less than 1 where windows contain N.
    ppm = ppm + (1.0 - ppm.sum(axis=0)) / 4
    information = 2.0 + (ppm * np.log2(ppm + 1e-7)).sum(axis=0)
    strong = np.flatnonzero(information > TRIM_INFORMATION)
    # The published code tests whether any *index* is non-zero: a filter informative only in column 0 is not trimmed.
    if strong.any():
        ppm = ppm[:, max(strong[0] - MARGIN, 0) : strong[-1] + MARGIN + 1]
    rounded = np.round(ppm, 4)
    return np.asarray(rounded / rounded.sum(axis=0))


def koo_targets(database: MotifDatabase) -> tuple[Motif, ...]:
    """Every motif of the database except those that the published target file omits; 518 in JASPAR2016."""
    return tuple(motif for motif in database.motifs if motif.id not in LEFT_OUT)


def match_koo(ppms: Sequence[np.ndarray], database: MotifDatabase, targets: Mapping[str, Sequence[str]]) -> KooMatch:
    """Measure the fraction of filters that match, as published.

    Parameters
    ----------
    ppms : sequence of np.ndarray, shape=(4, width)
        One matrix per filter, from `koo_ppm`.
    database : MotifDatabase
        Promiscuous motifs count, MA0615.1 does not.
    targets : Mapping of str to sequence of str
        Named families; may be empty.

    Raises
    ------
    MotifError
        If there is no filter.
    """
    if not ppms:
        raise MotifError("there is no filter to match.")
    known = koo_targets(database)
    e_values = tomtom(ppms, [motif.ppm for motif in known]).p_value * len(known)  # (n_filters, n_targets)
    hit = e_values <= MATCH_E
    column = {motif.id: index for index, motif in enumerate(known)}
    families = [[column[i] for i in identifiers if i in column] for identifiers in targets.values()]
    found = np.array([hit[:, columns].any(axis=1) for columns in families]).reshape(len(families), len(ppms))
    return KooMatch(
        float(hit.any(axis=1).mean()),
        float(found.any(axis=0).mean()) if families else 0.0,
        float(found.any(axis=1).mean()) if families else 0.0,
    )
