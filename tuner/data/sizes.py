"""How much so many sequences can say: the width of an AUROC's interval, from the sizes of the classes alone."""

from __future__ import annotations

import math

FEWEST = 50  # sequences of a class: an AUROC of .8 of 50 + 50 has a 95 % interval of +- .09
USUAL = 0.8


def auroc_error(auroc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUROC after Hanley & McNeil 1982 (Radiology 143:29), equation 2.

    Parameters
    ----------
    auroc : float
        The AUROC, or what is expected; one below .5 errs as its mirror does.
    positives, negatives : int
        Sequences of each class.

    Returns
    -------
    float
        Infinity where a class is empty.
    """
    if min(positives, negatives) < 1:
        return math.inf
    a = max(auroc, 1 - auroc)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (positives - 1) * (q1 - a * a) + (negatives - 1) * (q2 - a * a)
    return math.sqrt(max(0.0, variance) / (positives * negatives))


def auroc_interval(auroc: float, positives: int, negatives: int) -> tuple[float, float]:
    """About the 95 % interval of an AUROC, from the sizes of the classes.

    The score interval: every true value from whose own standard error the AUROC is not further than 1.96; so an AUROC
    of 1 from two sequences has a wide one, where the plain formula gives an error of 0.
    """
    if min(positives, negatives) < 1:
        return 0.0, 1.0
    grid = [i / 1000 for i in range(1001)]
    inside = [a for a in grid if abs(auroc - a) <= 1.96 * auroc_error(a, positives, negatives) + 1e-9]
    return min([auroc, *inside]), max([auroc, *inside])


def counted(n: int, noun: str, plural: str = "") -> str:
    """Count something: ``1 positive``, ``30 positives``."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def interval_words(positives: int, negatives: int) -> str:
    """Say between which values the 95 % interval of a usual AUROC lies."""
    low, high = auroc_interval(USUAL, positives, negatives)
    return f"an AUROC of {USUAL} there has a 95 % interval from about {low:.2f} to {high:.2f}"
