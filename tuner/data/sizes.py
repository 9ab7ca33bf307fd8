"""Computes how precise an AUROC can be: its 95 % interval, from the sizes of the classes alone."""

from __future__ import annotations

import math

FEWEST = 50  # sequences per class; with 50 + 50, an AUROC of .8 has a 95 % interval of +- .09
USUAL = 0.8


def auroc_error(auroc: float, positives: int, negatives: int) -> float:
    """Compute the standard error of an AUROC by Hanley & McNeil 1982 (Radiology 143:29), equation 2.

    Parameters
    ----------
    auroc : float
        The AUROC, or its expected value. A value below .5 has the same error as 1 minus it.
    positives, negatives : int
        Number of sequences of each class.

    Returns
    -------
    float
        Infinity if a class is empty.
    """
    if min(positives, negatives) < 1:
        return math.inf
    a = max(auroc, 1 - auroc)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (positives - 1) * (q1 - a * a) + (negatives - 1) * (q2 - a * a)
    return math.sqrt(max(0.0, variance) / (positives * negatives))


def auroc_interval(auroc: float, positives: int, negatives: int) -> tuple[float, float]:
    """Compute an approximate 95 % interval of an AUROC from the sizes of the classes.

    This is a score interval: it contains every true value from which the AUROC differs by at most 1.96 of that value's
    standard errors. An AUROC of 1 from two sequences thus has a wide interval, although its own standard error is 0.
    """
    if min(positives, negatives) < 1:
        return 0.0, 1.0
    grid = [i / 1000 for i in range(1001)]
    inside = [a for a in grid if abs(auroc - a) <= 1.96 * auroc_error(a, positives, negatives) + 1e-9]
    return min([auroc, *inside]), max([auroc, *inside])


def counted(n: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: ``1 positive``, ``30 positives``."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def interval_words(positives: int, negatives: int) -> str:
    """State the 95 % interval of a typical AUROC in words."""
    low, high = auroc_interval(USUAL, positives, negatives)
    return f"an AUROC of {USUAL} there has a 95 % interval from about {low:.2f} to {high:.2f}"
