"""The planned comparison: do filters or patterns show the motifs that a study names as its targets?

A search through a whole database asks about a thousand motifs at once, so its E-value is p times their number. What a
study names before anything is seen is another question, with few comparisons: each of the named motifs with each filter
or pattern that is tested. Its p is corrected for these alone (Bonferroni), also where another motif is the best match.

Tomtom's p is too small for some motifs, which permuted filters match more often than p says. A corrected p counts up
to .01, or up to half of that, a quarter, ... where more than 3 % of studies of permuted filters would claim a match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.motifs.database import MotifDatabase
from tuner.motifs.filters import Filter
from tuner.motifs.screen import permuted, reference_filters
from tuner.motifs.tomtom import tomtom

PLANNED_P = 0.01  # corrected
FALSE_CLAIMS = 0.03  # largest share of studies without a motif in which permuted filters may be claimed to match
PERMUTED = 1500  # matrices, as many as the screen of a database uses
_CHUNK = 250
_SEED = 1  # that of the screen is 0


class TargetMatch(NamedTuple):
    """One filter or pattern beside the named motifs of one family.

    Attributes
    ----------
    query : int
        `Filter.index`.
    family : str
        As the study names it.
    target : str
        Identifier of the named motif with the smallest p.
    name : str
        Its name.
    motif_family : str or None
        Its family in the database.
    p_value : float
        Tomtom's, of this pair.
    compared : int
        Comparisons that were planned: named motifs of all families x queries tested.
    level : float
        Largest corrected p that counts: .01, or less where permuted filters match these motifs too often.
    """

    query: int
    family: str
    target: str
    name: str
    motif_family: str | None
    p_value: float
    compared: int
    level: float = PLANNED_P

    @property
    def corrected(self) -> float:
        """Times the number of planned comparisons, at most 1."""
        return min(1.0, self.p_value * self.compared)

    @property
    def significant(self) -> bool:
        """Whether the corrected p is at most `level`."""
        return self.corrected <= self.level


def match_targets(
    filters: Sequence[Filter], database: MotifDatabase, targets: Mapping[str, Sequence[str]]
) -> tuple[TargetMatch, ...]:
    """Compare filters, or the trimmed matrices of patterns, with the motifs that a study names.

    Parameters
    ----------
    filters : sequence of Filter
        Only those that pass the gates are tested and counted.
    database : MotifDatabase
        Tomtom's null distribution comes from its screened motifs, as in the search through all of them.
    targets : mapping of str to sequence of str
        Named families and their motifs; those that the database lacks or that are promiscuous are left out.

    Returns
    -------
    tuple of TargetMatch
        One row for each filter tested and family, smallest p first.
    """
    column = {motif.id: index for index, motif in enumerate(database.screened)}
    known = {family: [i for i in ids if i in column] for family, ids in targets.items()}
    tested = [item for item in filters if item.gated and item.ppm.shape[1]]
    named = sorted({column[i] for ids in known.values() for i in ids})
    compared = len(named) * len(tested)
    if not compared:
        return ()
    level = choose_level(permuted_p(database, named), compared, len(tested))
    p_values = tomtom([item.ppm for item in tested], [motif.ppm for motif in database.screened]).p_value
    rows = []
    for item, row in zip(tested, p_values, strict=True):
        for family, ids in known.items():
            if not ids:
                continue
            best = min(ids, key=lambda i: float(row[column[i]]))
            motif = database.screened[column[best]]
            rows.append(
                TargetMatch(
                    item.index, family, best, motif.name or best, motif.family, float(row[column[best]]), compared,
                    level,
                )
            )  # fmt: skip
    return tuple(sorted(rows, key=lambda r: (r.p_value, r.query)))


def choose_level(smallest: NDArray[np.float64], compared: int, tested: int) -> float:
    """Halve the level of .01 until permuted filters are seldom claimed to match.

    Parameters
    ----------
    smallest : np.ndarray, shape=(n_permuted,)
        Smallest p of each permuted filter against the named motifs.
    compared, tested : int
        Planned comparisons, and filters or patterns among them.

    Returns
    -------
    float
        At this level at most 3 % of studies with so many filters, all permuted, would claim a match.
    """
    level = PLANNED_P
    while True:
        rate = float((smallest * compared <= level).mean())
        if rate == 0 or 1 - (1 - rate) ** tested <= FALSE_CLAIMS:
            return level
        level /= 2


_known: dict[tuple[str, tuple[int, ...]], NDArray[np.float64]] = {}


def permuted_p(database: MotifDatabase, named: Sequence[int]) -> NDArray[np.float64]:
    """Smallest p of each permuted reference filter against some screened motifs; computed once per process (4 s)."""
    key = (database.digest, tuple(named))
    if key not in _known:
        queries = permuted([m.ppm for m in reference_filters()], PERMUTED, np.random.default_rng(_SEED))
        targets = [motif.ppm for motif in database.screened]
        parts = (tomtom(queries[i : i + _CHUNK], targets).p_value for i in range(0, PERMUTED, _CHUNK))
        _known[key] = np.concatenate([part[:, list(named)].min(axis=1) for part in parts])
    return _known[key]
