"""The read-out of Koo & Ploenzke 2021, for comparison with their numbers only.

Sites are all positions above half of a filter's maximum, so a ReLU filter is averaged over tens of thousands
of windows and an exponential one over a few dozen: the number measures the read-out as much as the filter. It
has no gates, divides by the number of filters, and counts every target. Objectives that are searched use
`tuner.motifs.match` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from tuner.errors import MotifError
from tuner.motifs.database import MotifDatabase
from tuner.motifs.meme import Motif
from tuner.motifs.tomtom import tomtom

WINDOW: Final = 20  # bp, whatever the kernel
MATCH_E: Final = 0.1
TRIM_INFORMATION: Final = 0.5  # bits
MARGIN: Final = 3  # columns kept on either side of the informative ones
FEWEST_SITES: Final = 2
# MA0615.1 is left out of the published target file: flat matrices match it.
LEFT_OUT: Final = frozenset({"MA0615.1"})


class KooMatch(NamedTuple):
    """Published counts of one layer.

    Attributes
    ----------
    match_fraction : float
        Filters with a target at E <= .1, over all filters ("match JASPAR").
    target_fraction : float
        Filters with a named target at E <= .1, over all filters ("match ground truth").
    coverage : float
        Named families that some filter hits, over those named; 0 where none is named.
    """

    match_fraction: float
    target_fraction: float
    coverage: float


def koo_ppm(counts: np.ndarray, sites: int) -> np.ndarray:
    """Build the clipped matrix of one filter.

    Parameters
    ----------
    counts : np.ndarray, shape=(4, 20)
        Bases at each column of the windows around the sites.
    sites : int
        Number of windows.

    Returns
    -------
    np.ndarray, shape=(4, width), float64
        Four decimals, as the published MEME files hold them; flat where there are fewer than two windows.
    """
    if sites < FEWEST_SITES:
        return np.full((4, WINDOW), 0.25)
    ppm = np.asarray(counts, dtype=np.float64) / sites
    # N is in no row; a column of windows with N sums to less than 1.
    ppm = ppm + (1.0 - ppm.sum(axis=0)) / 4
    information = 2.0 + (ppm * np.log2(ppm + 1e-7)).sum(axis=0)
    strong = np.flatnonzero(information > TRIM_INFORMATION)
    # The published test is whether any *index* is non-zero: a filter informative at column 0 alone stays whole.
    if strong.any():
        ppm = ppm[:, max(strong[0] - MARGIN, 0) : strong[-1] + MARGIN + 1]
    rounded = np.round(ppm, 4)
    return np.asarray(rounded / rounded.sum(axis=0))


def koo_targets(database: MotifDatabase) -> tuple[Motif, ...]:
    """Every motif of the database but those the published target file leaves out; 518 of JASPAR2016."""
    return tuple(motif for motif in database.motifs if motif.id not in LEFT_OUT)


def match_koo(ppms: Sequence[np.ndarray], database: MotifDatabase, targets: Mapping[str, Sequence[str]]) -> KooMatch:
    """Count the filters that match, as published.

    Parameters
    ----------
    ppms : sequence of np.ndarray, shape=(4, width)
        One matrix a filter, from `koo_ppm`.
    database : MotifDatabase
        Promiscuous motifs count, MA0615.1 does not.
    targets : Mapping of str to sequence of str
        Named families; may be empty.

    Raises
    ------
    MotifError
        There is no filter.
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
