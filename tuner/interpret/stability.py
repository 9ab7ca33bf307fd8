"""Stability of motif families: in how many of several models each family is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tuner.motifs.match import FilterMatch


def stability(models: Sequence[Sequence[FilterMatch]]) -> dict[str, int]:
    """Count the models that show each family.

    Parameters
    ----------
    models : sequence of sequence of FilterMatch
        For each model, e.g. each confirmation seed, the matches of its filters or patterns.

    Returns
    -------
    dict of str to int
        Family of the best target (its name where the family is unknown) -> number of models with at least one
        significant match to it; most frequent first, then by name.
    """
    counts = Counter(
        family for rows in models for family in {r.family or r.target_name or "" for r in rows if r.significant}
    )
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
