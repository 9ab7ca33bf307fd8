"""Sentences about motifs and chance: what a pattern or filter matches, the study's own target, and the nulls."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.motifs.planned import PLANNED_P
from tuner.report.data import FilterChance, ModelReport, MotifMatched, Null, PatternRow, Shuffled, TargetRow
from tuner.report.evidence import matched_motif, planned
from tuner.report.numbers import count, e_words, percent


def pattern_match(pattern: PatternRow) -> str:
    """Say which known motif a pattern shows; one that is not above the null shows none."""
    motif = matched_motif(pattern)
    if motif is None:
        if pattern.match is None:
            return "No known motif resembles it."
        return f"Nearest, but no match: {_named(pattern.match)}, {e_words(pattern.match.e_value)}."
    numbers = planned_words(pattern) if planned(pattern) else e_words(motif.e_value)
    head = {
        True: "Matches",
        False: "Not above the null, so it shows no motif; resembles",
        None: "Resembles, without a null to compare it with,",
    }[pattern.above_null]
    return f"{head} {_named(motif)}, {numbers}."


def _named(motif: MotifMatched) -> str:
    return f"{motif.name or motif.id} ({motif.id}{f', {motif.family}' if motif.family else ''})"


def planned_words(pattern: PatternRow) -> str:
    """Say that a pattern matches a target that the study names, and what the search through the database gives."""
    row = pattern.target
    assert row is not None  # `planned` holds
    return f"the study's own target: {corrected_words(row)}, {e_words(row.e_value)} in the whole database"


def corrected_words(row: TargetRow) -> str:
    """Write the p-value of a planned comparison, and for how many comparisons it was corrected."""
    value = e_words(row.corrected).replace("E", "p", 1)
    stricter = (
        "" if row.level == PLANNED_P else f", where {row.level:.2g} is needed because permuted filters match it often"
    )
    return f"{value} corrected for {count(row.compared, 'planned comparison')}{stricter}"


def target_sentences(model: ModelReport) -> list[str]:
    """Say of each family that the study names whether patterns and filters show it, by the planned comparison alone."""
    families = dict.fromkeys(row.family for row in model.targets)
    return [_target(model, family, [r for r in model.targets if r.family == family]) for family in families]


def _target(model: ModelReport, family: str, rows: Sequence[TargetRow]) -> str:
    said = [_target_part(model, row) for row in rows]
    return f"The study's own target {family}, a planned comparison: {'; '.join(said)}."


def _target_part(model: ModelReport, row: TargetRow) -> str:
    motif = row.id if row.name == row.id else f"{row.name} ({row.id})"
    numbers = corrected_words(row)
    if row.source == "filter":
        if row.matched:
            return f"filter {row.label} matches {motif}, {numbers}"
        return f"no filter matches it (nearest: filter {row.label}, {numbers})"
    pattern = next((p for p in model.patterns if p.name == row.label), None)
    size = "" if pattern is None else f" ({count(pattern.seqlets, 'seqlet')})"
    if not row.matched:
        return f"no pattern matches it (nearest: {row.label}, {numbers})"
    above = None if pattern is None else pattern.above_null
    beside = {
        True: f"and is above the null{chance_words(model.null)}",
        False: "but is not above the null, so it shows nothing",
        None: "but no null was made to compare it with",
    }[above]
    return f"pattern {row.label}{size} matches {motif}, {numbers}, {beside}"


def chance_words(null: Null | None) -> str:
    """Say how often chance alone is above the null; nothing where no null was made."""
    if null is None or not null.networks:
        return ""
    return f" (by chance in 1 of {null.networks + 1})"


def null_words(model: ModelReport) -> str:
    """Say what networks trained on shuffled labels give."""
    null = model.null
    if null is None:
        return "no null was made"
    many = null.networks > 1
    of = f"{null.networks} networks" if many else "one network"
    chance = f", which chance alone exceeds in 1 of {null.networks + 1} cases"
    if null.seqlets:
        return f"the largest of {of} trained on shuffled labels has {count(max(null.seqlets), 'seqlet')}{chance}"
    if any(p.above_null is not None for p in model.patterns):
        return f"{of} trained on shuffled labels {'have' if many else 'has'} no pattern{chance}"
    return null.words.rstrip(".") or "no null was made"


def matches_by_chance(hits: int, chance: FilterChance | None) -> str:
    """Say how probable so many matches are among filters that show no motif."""
    if chance is None:
        return ""
    many = f", at least {hits} in {percent(chance.as_many, 1)}" if hits > 1 else ""
    return (
        f"of {count(chance.tested, 'informative filter')} without a motif at least one does so by chance in "
        f"{percent(chance.one)} of networks{many}; "
    )


def shuffled_words(shuffled: Shuffled) -> str:
    """Say how often filters of networks match that have nothing to find."""
    shares, composition = shuffled.match_fractions, shuffled.composition_match_fractions
    said = [
        _shares(values, how)
        for values, how in ((shares, "shuffled labels"), (composition, "composition alone")) if values
    ]  # fmt: skip
    return "; ".join(said) or "no label-shuffled network was trained for comparison"


def _shares(values: Sequence[float], how: str) -> str:
    mean = sum(values) / len(values)
    most = f" (at most {percent(max(values), 1)} in one of them)" if len(values) > 1 else ""
    return f"in {count(len(values), 'network')} trained on {how}, {percent(mean, 1)} of the filters do{most}"
