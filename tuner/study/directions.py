"""Which direction of each objective is better, apart from what measures it: a reader need not wait for torch."""

from __future__ import annotations

from typing import Final

# Of study/objectives.py, whose table a test compares with this one.
OBJECTIVE_DIRECTIONS: Final = {
    **dict.fromkeys(("loss", "match_null", "parameters", "seconds"), "minimize"),
    **dict.fromkeys(
        (
            "auroc", "average_precision", "trapezoid_aupr", "micro_aupr", "accuracy", "match_fraction", "match_excess",
            "match_score", "target_fraction", "coverage", "distinct", "used_match_fraction", "filters_alive",
            "filters_gated", "match_fraction_koo", "target_fraction_koo", "attribution_auroc", "attribution_aupr",
        ),
        "maximize",
    ),
}  # fmt: skip

# Decided by validation predictions alone, and so measured without each group of sequences as well.
PREDICTED: Final = frozenset({"auroc", "average_precision", "trapezoid_aupr", "micro_aupr", "accuracy", "loss"})
# Between 0 and 1; `match_excess` reaches below.
BOUNDED: Final = frozenset(OBJECTIVE_DIRECTIONS) - {
    "loss", "parameters", "seconds", "distinct", "filters_alive", "filters_gated", "match_excess",
} | {"matched_auroc"}  # fmt: skip


def maximized(objective: str) -> bool:
    """Whether more of an objective is better."""
    return OBJECTIVE_DIRECTIONS.get(objective) != "minimize"
