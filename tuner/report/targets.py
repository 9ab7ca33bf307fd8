"""What a report compares with the motifs that the study names, and how often filters match by chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tuner.interpret.modisco import pattern_filter
from tuner.motifs.chance import at_least, chance_rate
from tuner.motifs.database import MotifDatabase
from tuner.motifs.filters import Filter
from tuner.motifs.match import FilterMatch
from tuner.motifs.planned import TargetMatch, match_targets
from tuner.report.data import FilterChance, PatternRow, TargetRow

PATTERN, FILTER = "pattern", "filter"
Targets = Mapping[str, Sequence[str]]


def compare_patterns(
    rows: Sequence[PatternRow], database: MotifDatabase, targets: Targets
) -> tuple[tuple[PatternRow, ...], tuple[TargetRow, ...]]:
    """Compare the positive patterns of a model with the motifs that the study names.

    Returns
    -------
    tuple of PatternRow, tuple of TargetRow
        The rows, each compared one with the named motif that resembles it most; and the best pattern of each family,
        where those that match and are above the null come first.
    """
    tested = [pattern_filter(i, np.asarray(p.ppm), p.seqlets) for i, p in enumerate(rows) if p.positive]
    found = match_targets(tested, database, targets)
    made = {match: _row(match, PATTERN, rows[match.query].name, database) for match in found}  # smallest p first
    best: dict[int, TargetRow] = {}
    for match, row in made.items():
        best.setdefault(match.query, row)
    ordered = sorted(found, key=lambda m: not (m.significant and rows[m.query].above_null))
    marked = tuple(dataclasses.replace(p, target=best.get(i)) for i, p in enumerate(rows))
    return marked, _first([made[match] for match in ordered])


def compare_filters(
    rows: Sequence[FilterMatch], ppms: Mapping[int, np.ndarray], database: MotifDatabase, targets: Targets
) -> tuple[TargetRow, ...]:
    """Compare the filters of a model with the motifs that the study names; the best filter of each family."""
    tested = [Filter(r.filter, ppms[r.filter], r.sites, r.information, r.alive, 0) for r in rows if r.filter in ppms]
    found = match_targets(tested, database, targets)
    return _first([_row(match, FILTER, str(match.query), database) for match in found])


def filter_chance(rows: Sequence[FilterMatch], match_null: float | None) -> FilterChance | None:
    """How often as many filters of a layer match by chance; None where that was not measured, or none is gated.

    Parameters
    ----------
    rows : sequence of FilterMatch
        The whole layer.
    match_null : float or None
        As stored with the network.
    """
    tested, hits = sum(r.gated for r in rows), sum(r.significant for r in rows)
    if match_null is None or not tested:
        return None
    rate = chance_rate(match_null, len(rows), tested)
    return FilterChance(tested=tested, rate=rate, one=at_least(1, tested, rate), as_many=at_least(hits, tested, rate))


def _row(match: TargetMatch, source: str, label: str, database: MotifDatabase) -> TargetRow:
    return TargetRow(
        family=match.family, source=source, label=label, id=match.target, name=match.name,
        motif_family=match.motif_family, p_value=match.p_value, corrected=match.corrected, compared=match.compared,
        e_value=match.p_value * len(database.screened),
        level=match.level, matched=match.significant,
    )  # fmt: skip


def _first(rows: Sequence[TargetRow]) -> tuple[TargetRow, ...]:
    """The first row of each family."""
    best: dict[str, TargetRow] = {}
    for row in rows:
        best.setdefault(row.family, row)
    return tuple(best.values())
