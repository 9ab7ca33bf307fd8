"""How often filters that show no motif match one: with many filters, one match is no finding."""

from __future__ import annotations

import math

from tuner.motifs.match import PERMUTATIONS, SMALLEST_LAYER

# Filters of networks that have learned no motif match more often than filters with permuted columns, because they are
# made of real sequence: of forty label-shuffled and 24 untrained networks .9 to 2.3 times as often in three databases,
# 1.5 times in the mean (the table of docs/motifs.md).
REAL_SEQUENCE = 1.5


def chance_rate(match_null: float, n_filters: int, tested: int) -> float:
    """Chance that one gated filter without a motif matches.

    Parameters
    ----------
    match_null : float
        Share of the layer (or of 32, if it is smaller) that matches once its columns are permuted, mean over 20
        permutations.
    n_filters, tested : int
        Filters of the layer, and those of them that pass the gates.

    Returns
    -------
    float
        The rate of the permuted filters, with one more match in one more permutation so that it is never 0, times 1.5.
    """
    hits, trials = round(match_null * max(n_filters, SMALLEST_LAYER) * PERMUTATIONS), tested * PERMUTATIONS
    return min(1.0, REAL_SEQUENCE * (hits + 1) / (trials + 1))


def at_least(hits: int, tested: int, rate: float) -> float:
    """Probability that at least so many of the filters tested match by chance, if each does at this rate (binomial)."""
    if hits <= 0:
        return 1.0
    terms = (math.comb(tested, k) * rate**k * (1 - rate) ** (tested - k) for k in range(hits, tested + 1))
    return min(1.0, math.fsum(terms))
