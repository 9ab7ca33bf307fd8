"""The planned comparison: do filters or patterns show the motifs that a study names as its targets?

A search through a whole database asks about a thousand motifs at once, so its E-value is p times their number. What a
study names before anything is seen is another question, with few comparisons: each of the named motifs with each filter
or pattern that is tested. Its p is corrected for these alone (Bonferroni), also where another motif is the best match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tuner.motifs.database import MotifDatabase
from tuner.motifs.filters import Filter
from tuner.motifs.tomtom import tomtom

PLANNED_P = 0.01  # Tomtom's p-values of trimmed matrices are too small: measured, a corrected .01 is .05 at most


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
    """

    query: int
    family: str
    target: str
    name: str
    motif_family: str | None
    p_value: float
    compared: int

    @property
    def corrected(self) -> float:
        """Times the number of planned comparisons, at most 1."""
        return min(1.0, self.p_value * self.compared)

    @property
    def significant(self) -> bool:
        """Whether the corrected p is at most .01."""
        return self.corrected <= PLANNED_P


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
    compared = len({i for ids in known.values() for i in ids}) * len(tested)
    if not compared:
        return ()
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
                    item.index, family, best, motif.name or best, motif.family, float(row[column[best]]), compared
                )
            )  # fmt: skip
    return tuple(sorted(rows, key=lambda r: (r.p_value, r.query)))
