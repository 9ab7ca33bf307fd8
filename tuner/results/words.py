"""The words of every verdict: command line, page, notes and JSON say them with these functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tuner.results.confirmation import Confirmed, Standing, Verdict
from tuner.results.leads import ONE_RUN, UNRECORDED
from tuner.results.nulls import COMPOSITION, PERMUTED, SHUFFLED, NullMatches
from tuner.results.verdict import Comparison, Composition, Finding

BASELINES = {
    "gc": "GC content",
    "cpg": "CpG content",
    "2-mer": "2-mer logistic regression",
    "6-mer": "6-mer logistic regression",
    "best PWM": "the best single motif (PWM)",
}


NO_SPREAD = "nothing varies over the runs"
_UNKNOWN = {
    ONE_RUN: "they share fewer than two runs",
    UNRECORDED: "the version that made the study did not record how its values depend on the sequences",
}


def baseline_name(name: str) -> str:
    """Name a baseline."""
    return BASELINES.get(name, name)


def primary(verdict: Verdict | None, objective: str) -> str:
    """Say which trial is primary, how sure that is, and what its value is once its choice is accounted for."""
    if verdict is None:
        return "There was no confirmation, so no trial is declared primary; differences between trials may be chance."
    head = f"Primary trial: {verdict.primary}"
    if verdict.runner_up is None:
        said = f"{head}, the only candidate that was retrained."
    else:
        said = f"{head}, {beside(verdict)}: {lead(verdict.lead, verdict.low, verdict.high, verdict.over, objective)}."
    if math.isnan(verdict.corrected):
        return said
    return (
        f"{said} Its mean is optimistic, because the same sequences chose it; corrected for that: "
        f"{verdict.corrected:.4f} (95 % {verdict.corrected_low:.3f} to {verdict.corrected_high:.3f})."
    )


def mean(candidate: Confirmed, objective: str) -> str:
    """Write a confirmation mean, with its interval where there are enough runs for one."""
    low, high = candidate.low[objective], candidate.high[objective]
    return f"{candidate.mean[objective]:.4f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")


def outdone(controls: Mapping[str, Sequence[float]], primary: Confirmed | None) -> str | None:
    """Say that a baseline reaches more on validation than the retrained models of the primary trial."""
    known = {name: max(values) for name, values in controls.items() if name in BASELINES and values}
    if primary is None or "auroc" not in primary.mean or not known:
        return None
    best = max(known, key=lambda name: known[name])
    if known[best] <= primary.mean["auroc"]:
        return None
    return (
        f"A baseline reaches more than the primary trial: on the same validation sequences {baseline_name(best)} has "
        f"AUROC {known[best]:.3f}, trial {primary.candidate} {primary.mean['auroc']:.3f}. Train longer or on more "
        "sequences, or use the baseline."
    )


def lead(value: float, low: float, high: float, over: str, objective: str) -> str:
    """Say a lead on validation with its interval, and what that covers."""
    if math.isnan(value):
        return "they share no run"
    if math.isnan(low):
        return (
            f"lead {value:+.4f} {objective} on validation, whose interval is unknown: {_UNKNOWN.get(over, NO_SPREAD)}"
        )
    return f"lead {value:+.4f} {objective} on validation (95 % {low:+.4f} to {high:+.4f}, over {over})"


def beside(verdict: Verdict) -> str:
    """Say where the primary trial stands beside the runner-up."""
    if verdict.standing is Standing.AHEAD:
        return f"ahead of trial {verdict.runner_up}"
    return f"not distinguishable from trial {verdict.runner_up}"


def compared(comparison: Comparison) -> str:
    """Say how a reported trial compares with the primary one."""
    c = comparison
    if c.runs is None:
        return f"not retrained, so it cannot be compared with trial {c.primary}"
    where = {Standing.AHEAD: "behind", Standing.BEHIND: "ahead of", Standing.OPEN: "not distinguishable from"}
    assert c.standing is not None  # there are runs
    head = f"{where[c.standing]} trial {c.primary}"
    if math.isnan(c.lead):
        return f"{head} (no shared run)"
    return f"{head}: {lead(c.lead, c.low, c.high, c.over, c.objective)}, {c.runs} run{'s' * (c.runs != 1)} each"


def composition(found: Composition | None) -> str | None:
    """Say whether composition could be what the models have learned."""
    if found is None:
        return None
    if found.finding is Finding.SHUFFLED:
        return (
            "The negatives have the dinucleotide counts of positives, as shuffles of the positives have, so "
            "composition cannot be compared. These scores tell real DNA from shuffled DNA, which the 6-mer baseline "
            "does without any factor: judge by the motif, or use unbound genomic sequences as negatives."
        )
    numbers = f"{baseline_name(found.baseline)} alone reaches AUROC {found.auroc:.3f}"
    if found.interval is not None and found.sizes is not None:
        low, high = found.interval
        numbers += f" (95 % interval about {low:.2f} to {high:.2f}, from {found.sizes[0]} + {found.sizes[1]} sequences)"
    if found.share > 1:
        numbers += f", more than the models' {found.models:.3f}"
    else:
        numbers += f", {found.share:.0%} of the way from chance to the models' {found.models:.3f}"
    if found.matched is not None and not found.few:
        numbers += f"; on the GC x CpG-matched part the models reach {found.matched:.3f}"
    return {
        Finding.OPEN: (
            f"There are too few sequences to say whether composition explains the label: {numbers}. "
            "Add sequences before concluding either way."
        ),
        Finding.CONFOUNDED: (
            f"Composition is confounded with the label: {numbers}. Compare the models with the baselines, or use "
            "negatives that match the positives in composition and in N."
        ),
        Finding.LITTLE: f"Composition explains little: {numbers}.",
    }[found.finding]


def nulls(found: NullMatches, trial: int | None) -> str | None:
    """Say how often filters match where there is no motif, and what the primary trial has beyond the stronger null."""
    if not found.networks and found.fraction is None:
        return None
    said = [
        f"{_NULLS[kind]} {means:.3f}" + (f" (mean of {len(found.networks[kind])})" if kind in found.networks else "")
        for kind, means in found.means.items()
    ]  # fmt: skip
    missing = _missing(found)
    head = f"match_fraction by chance: {', '.join(said) or 'unknown'}{missing}."
    if found.fraction is None or found.stronger is None or found.excess is None or trial is None:
        return head
    beyond = "" if found.excess > 0 else ": no more than chance"
    return (
        f"{head} The stronger null is {_NULLS[found.stronger]}: trial {trial} has {found.fraction:.3f}, "
        f"{found.excess:+.3f} beyond it{beyond}."
    )


def _missing(found: NullMatches) -> str:
    """Say which networks were not trained, and why."""
    if COMPOSITION in found.networks:
        return "" if SHUFFLED in found.networks else "; no label-shuffled network was trained"
    if found.paired:
        why = "the negatives are shuffles of the positives, so composition tells nothing"
    else:
        why = "the study asks for none, or an earlier version made it"
    also = "" if SHUFFLED in found.networks else "no label-shuffled and "
    return f"; {also}no composition-only network was trained ({why})"


_NULLS = {
    SHUFFLED: "label-shuffled networks", COMPOSITION: "composition-only networks",
    PERMUTED: "its own filters with permuted columns",
}  # fmt: skip
