"""The motif that a model shows best, and how strong the evidence is."""

from __future__ import annotations

from typing import NamedTuple

from tuner.motifs.match import FilterMatch
from tuner.motifs.screen import SIGNIFICANT_E
from tuner.report.data import ModelReport, PatternRow

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
    return row.match is not None and (row.match.e_value <= SIGNIFICANT_E or planned(row))


def planned(row: PatternRow) -> bool:
    """Whether a pattern matches a target of the study by the planned comparison alone: p <= .01, E > .01."""
    match = row.match
    return (
        match is not None and match.e_value > SIGNIFICANT_E and match.planned is not None
        and match.planned <= SIGNIFICANT_E
    )  # fmt: skip


def evidence(model: ModelReport) -> Evidence:
    """Choose the strongest motif of a model: patterns before filters, and the null before everything."""
    patterns = sorted((p for p in model.patterns if p.positive), key=lambda p: -p.seqlets)
    filters = sorted((f for f in model.filters if f.significant), key=lambda f: f.e_value)
    for kind, wanted in (("above null", True), ("no null", None)):
        found = next((p for p in patterns if p.above_null is wanted and matched(p)), None)
        if found is not None and found.match is not None:
            m = found.match
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
