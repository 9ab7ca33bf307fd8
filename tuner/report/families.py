"""Evidence for each motif family, merged from filters, patterns, insertions and retrained models."""

from __future__ import annotations

from typing import NamedTuple

from tuner.motifs.match import FilterMatch
from tuner.report.data import MarginalRow, ModelReport, PatternRow
from tuner.report.evidence import matched, matched_motif


class Family(NamedTuple):
    """One row of the summary of a model's motifs.

    Attributes
    ----------
    name : str
        The family; the motif's own name where the database knows no family.
    motifs : tuple of str
        Names of the matched motifs, best first.
    filters : tuple of FilterMatch
        Significant ones, best first.
    patterns : tuple of PatternRow
        Matched ones, largest first.
    e_value : float
        The best of all.
    models : int
        Number of retrained models whose filters show it.
    marginal : MarginalRow or None
        The motif with the largest effect when it is inserted.
    """

    name: str
    motifs: tuple[str, ...]
    filters: tuple[FilterMatch, ...]
    patterns: tuple[PatternRow, ...]
    e_value: float
    models: int
    marginal: MarginalRow | None

    @property
    def above_null(self) -> bool | None:
        """Whether any of its patterns is above the null; None if there is no null or no pattern."""
        known = [p.above_null for p in self.patterns if p.above_null is not None]
        return any(known) if known else None


def merge_families(model: ModelReport) -> tuple[Family, ...]:
    """Merge what a model shows by the family of the matched motif.

    Parameters
    ----------
    model : ModelReport
        Its filters count where they match, its patterns where they match and are not below the null.

    Returns
    -------
    tuple of Family
        Those with a pattern above the null first, then by E-value.
    """
    filters: dict[str, list[FilterMatch]] = {}
    patterns: dict[str, list[PatternRow]] = {}
    for f in sorted((f for f in model.filters if matched(f)), key=lambda f: f.e_value):
        filters.setdefault(f.family or f.name, []).append(f)
    for p in sorted(model.patterns, key=lambda p: -p.seqlets):
        m = matched_motif(p)
        if m is not None and p.above_null is not False:
            patterns.setdefault(m.family or m.name or m.id, []).append(p)
    found = []
    for name in {**filters, **patterns}:
        mine, theirs = filters.get(name, []), patterns.get(name, [])
        named = [(f.e_value, f.name) for f in mine]
        named += [(m.e_value, m.name or m.id) for p in theirs if (m := matched_motif(p)) is not None]
        named.sort()
        motifs = tuple(dict.fromkeys(motif for _, motif in named))
        inserted = [m for m in model.marginal if (m.family or m.name) == name]
        found.append(
            Family(
                name, motifs, tuple(mine), tuple(theirs), named[0][0], model.stability.get(name, 0),
                max(inserted, key=lambda m: abs(m.effect), default=None),
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda f: (f.above_null is not True, f.e_value, f.name)))


def order_filters(model: ModelReport) -> list[tuple[str, list[FilterMatch]]]:
    """Group filters for reading: matched, candidates for novel motifs, too weak, dead.

    Returns
    -------
    list of (str, list of FilterMatch)
        Kind -> filters: ``matched`` by E-value, ``candidate`` by ablation effect, ``weak`` by information,
        ``dead`` by number.
    """
    groups: dict[str, list[FilterMatch]] = {"matched": [], "candidate": [], "weak": [], "dead": []}
    candidates = set(model.candidates)
    for f in model.filters:
        kind = "dead" if not f.alive else "matched" if f.significant else "candidate" if f.filter in candidates else ""
        groups[kind or "weak"].append(f)
    groups["matched"].sort(key=lambda f: (f.e_value, f.filter))
    groups["candidate"].sort(key=lambda f: (-f.influence, -f.information, f.filter))
    groups["weak"].sort(key=lambda f: (-f.information, f.filter))
    groups["dead"].sort(key=lambda f: f.filter)
    return [(kind, rows) for kind, rows in groups.items() if rows]
