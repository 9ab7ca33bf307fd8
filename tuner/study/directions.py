"""Direction in which each objective improves, in a module of its own that does not import torch."""

from __future__ import annotations

from typing import Final

# The directions of study/objectives.py; a test compares the two tables.
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

# Determined by validation predictions alone, and so also measured without each group of sequences in turn.
PREDICTED: Final = frozenset({"auroc", "average_precision", "trapezoid_aupr", "micro_aupr", "accuracy", "loss"})
# They reward filters for looking like known motifs.
MOTIF_OBJECTIVES: Final = frozenset(
    {"match_fraction", "match_excess", "match_score", "target_fraction", "coverage", "distinct", "used_match_fraction"}
)
# Between 0 and 1; `match_excess` can be negative.
BOUNDED: Final = frozenset(OBJECTIVE_DIRECTIONS) - {
    "loss", "parameters", "seconds", "distinct", "filters_alive", "filters_gated", "match_excess",
} | {"matched_auroc"}  # fmt: skip


def maximized(objective: str) -> bool:
    """Return whether larger values of an objective are better."""
    return OBJECTIVE_DIRECTIONS.get(objective) != "minimize"
