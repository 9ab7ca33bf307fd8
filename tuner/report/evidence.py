"""The motif that a model shows best, and how strong the evidence is."""

from __future__ import annotations

from typing import NamedTuple

from tuner.motifs.match import FilterMatch
from tuner.motifs.screen import SIGNIFICANT_E
from tuner.report.data import ModelReport, MotifMatched, PatternRow

SHOWN = ("above null", "no null", "unmatched", "filter")  # kinds of evidence that show a motif


class Evidence(NamedTuple):
    """The strongest motif of a model.

    Attributes
    ----------
    kind : str
        ``above null`` (a matched pattern), ``unmatched`` (a pattern above the null that no known motif matches),
        ``no null`` (a matched pattern, but no null was made), ``below null``, ``filter`` (no patterns, but a
        matched filter) or ``none``.
    name, family, id : str
        The known motif; empty where there is none.
    e_value : float or None
        Of that match.
    pattern : PatternRow or None
        What was found by TF-MoDISco.
    filter : FilterMatch or None
        The filter that shows it best.
    """

    kind: str
    name: str = ""
    family: str = ""
    id: str = ""
    e_value: float | None = None
    pattern: PatternRow | None = None
    filter: FilterMatch | None = None


def matched(row: FilterMatch | PatternRow) -> bool:
    """Whether a known motif resembles it more than chance allows: E <= .01 (a filter must also pass the gates)."""
    if isinstance(row, FilterMatch):
        return row.significant
    return matched_motif(row) is not None


def planned(row: PatternRow) -> bool:
    """Whether a pattern matches by the planned comparison with the study's targets alone, and nothing at E <= .01."""
    best = row.match is not None and row.match.e_value <= SIGNIFICANT_E
    return not best and row.target is not None and row.target.matched


def matched_motif(row: PatternRow) -> MotifMatched | None:
    """The known motif that a pattern matches: the best of the database at E <= .01, else a target of the study."""
    if planned(row):
        t = row.target
        assert t is not None  # `planned` holds
        return MotifMatched(id=t.id, name=t.name, family=t.motif_family, e_value=t.e_value)
    return row.match if row.match is not None and row.match.e_value <= SIGNIFICANT_E else None


def claimed(row: PatternRow) -> bool:
    """Whether a pattern shows a known motif: it matches one and is above the null."""
    return bool(row.above_null) and matched(row)


def evidence(model: ModelReport) -> Evidence:
    """Choose the strongest motif of a model: patterns before filters, and the null before everything."""
    patterns = sorted((p for p in model.patterns if p.positive), key=lambda p: -p.seqlets)
    filters = sorted((f for f in model.filters if f.significant), key=lambda f: f.e_value)
    for kind, wanted in (("above null", True), ("no null", None)):
        found = next((p for p in patterns if p.above_null is wanted and matched(p)), None)
        m = None if found is None else matched_motif(found)
        if m is not None:
            seen = next((f for f in filters if f.family == m.family or f.target == m.id), None)
            return Evidence(kind, m.name or m.id, m.family or "", m.id, m.e_value, found, seen)
    above = next((p for p in patterns if p.above_null), None)
    if above is not None:
        return Evidence("unmatched", pattern=above, filter=filters[0] if filters else None)
    kind = "below null" if any(p.above_null is False for p in patterns) else "filter" if filters else "none"
    if not filters:
        return Evidence(kind, pattern=patterns[0] if patterns else None)
    f = filters[0]
    pattern = patterns[0] if patterns else None
    return Evidence(kind, f.name, f.family or "", f.target or "", f.e_value, pattern, f)
