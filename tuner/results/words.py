"""The words of every verdict: command line, page, notes and JSON say them with these functions."""

from __future__ import annotations

import math

from tuner.results.leaderboard import Standing, Verdict
from tuner.results.verdict import Comparison, Composition, Finding

BASELINES = {
    "gc": "GC content",
    "cpg": "CpG content",
    "2-mer": "2-mer logistic regression",
    "6-mer": "6-mer logistic regression",
    "best PWM": "the best single motif (PWM)",
}


def baseline_name(name: str) -> str:
    """Name a baseline."""
    return BASELINES.get(name, name)


def primary(verdict: Verdict | None, objective: str) -> str:
    """Say which trial is primary and how sure that is."""
    if verdict is None:
        return "There was no confirmation, so no trial is declared primary; differences between trials may be chance."
    head = f"Primary trial: {verdict.primary}"
    if verdict.runner_up is None:
        return f"{head}, the only candidate that was retrained."
    error = "unknown (one shared run)" if math.isinf(verdict.standard_error) else f"{verdict.standard_error:.4f}"
    return (
        f"{head}, {beside(verdict)}: lead {verdict.lead:.4f} {objective} on validation, paired standard error {error}."
    )


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
    if c.runs < 2:
        return f"not distinguishable from trial {c.primary} ({c.runs} shared run{'s' * (c.runs != 1)})"
    numbers = (
        f"lead of trial {c.primary} {c.lead:+.4f} {c.objective}, paired standard error {c.standard_error:.4f}, "
        f"over {c.runs} runs"
    )
    where = {Standing.AHEAD: "behind", Standing.BEHIND: "ahead of", Standing.OPEN: "not distinguishable from"}
    assert c.standing is not None  # there are runs
    return f"{where[c.standing]} trial {c.primary}: {numbers}"


def composition(found: Composition | None) -> str | None:
    """Say whether composition could be what the models have learned."""
    if found is None:
        return None
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
