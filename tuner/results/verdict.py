"""What follows from a study's numbers, as values: leads, and what composition explains. `words` says them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from tuner.data.sizes import FEWEST, auroc_interval
from tuner.results.confirmation import Confirmed, Standing, lead_of
from tuner.results.leads import SEEDS

COMPOSITION = ("gc", "cpg", "2-mer")
TIE = 1e-9  # from an AUROC of exactly one half
MOST = 0.5  # of the way from chance to the models: composition is confounded with the label


class Comparison(NamedTuple):
    """A reported trial beside the primary trial, over the runs that both were retrained with.

    Attributes
    ----------
    primary : int
        The primary trial.
    objective : str
        What is compared.
    runs : int or None
        Shared runs; None where one of the two was not retrained.
    lead, low, high : float
        Lead of the primary trial (better = positive) and its 95 % interval; NaN where that is not known.
    over : str
        What the interval covers: seeds and sequences, seeds alone, folds.
    """

    primary: int
    objective: str
    runs: int | None
    lead: float = math.nan
    low: float = math.nan
    high: float = math.nan
    over: str = SEEDS

    @property
    def standing(self) -> Standing | None:
        """Of the primary trial, as everywhere (`Verdict`); None where nothing can be compared."""
        return None if self.runs is None else Standing.of(self.low, self.high)


def compare(candidates: Sequence[Confirmed], primary: int | None, trial: int, objective: str) -> Comparison | None:
    """Compare a trial with the primary trial; None for that trial itself, and without one."""
    if primary is None or trial == primary:
        return None
    by_number = {c.candidate: c for c in candidates if c.runs}
    if trial not in by_number or primary not in by_number:
        return Comparison(primary, objective, None)
    first, other = by_number[primary], by_number[trial]
    shared = len(set(first.runs) & set(other.runs))
    return Comparison(primary, objective, shared, *lead_of(first, other, objective))


class Finding(StrEnum):
    """Whether composition could be what the models have learned."""

    CONFOUNDED = "confounded"
    SHUFFLED = "shuffled"
    LITTLE = "little"
    OPEN = "open"


class Composition(NamedTuple):
    """How much of a model's AUROC composition alone would give.

    Attributes
    ----------
    split : str
        ``validation`` or ``test``.
    baseline : str
        The best of `COMPOSITION`.
    auroc : float
        That baseline's.
    models : float
        The models' AUROC on the same split.
    matched : float or None
        Theirs where GC and CpG content cannot tell the classes apart.
    sizes : tuple of int, or None
        Positives and negatives that the AUROCs were measured on.
    equal : bool
        Whether the negatives are shuffles of the positives, with the same dinucleotide counts: the study says so, or
        the 2-mer baseline is at exactly .5.
    """

    split: str
    baseline: str
    auroc: float
    models: float
    matched: float | None
    sizes: tuple[int, int] | None
    equal: bool = False

    @property
    def share(self) -> float:
        """Of the way from chance to the models; 0 or more."""
        return self._share(self.auroc)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the baseline's AUROC, from the sizes."""
        return None if self.sizes is None else auroc_interval(self.auroc, *self.sizes)

    @property
    def few(self) -> bool:
        """Whether a part of so few sequences is not spoken of."""
        return self.sizes is not None and min(self.sizes) < FEWEST

    @property
    def finding(self) -> Finding:
        """Open where the interval leaves both possible; shuffled where composition cannot tell the classes apart."""
        if self.equal:
            return Finding.SHUFFLED
        if self.interval is not None:
            low, high = self.interval
            if self._share(low) < MOST <= self._share(high):
                return Finding.OPEN
        return Finding.CONFOUNDED if self.share >= MOST else Finding.LITTLE

    def _share(self, auroc: float) -> float:
        return max(0.0, (auroc - 0.5) / (self.models - 0.5))


def composition(
    controls: Mapping[str, Sequence[float]],
    models: float,
    matched: float | None,
    sizes: tuple[int, int] | None = None,
    *,
    split: str = "validation",
    shuffled: bool | None = None,
) -> Composition | None:
    """Set the best composition baseline beside the models.

    Parameters
    ----------
    controls : mapping of str to sequence of float
        Control -> AUROCs on the split.
    models : float
        AUROC of the models.
    matched : float or None
        Theirs on the part that is matched for GC and CpG content.
    sizes : tuple of int, optional
        Positives and negatives of the split.
    split : str
        ``validation`` or ``test``.
    shuffled : bool, optional
        Whether the negatives are shuffles of the positives. Their positives may lie in another split, so that the
        2-mer baseline is not at .5 here; without this fact, shuffles are known by that AUROC only.

    Returns
    -------
    Composition or None
        None without composition baselines, or for models that are not above chance.
    """
    known = {name: max(controls[name]) for name in COMPOSITION if controls.get(name)}
    if not known or models <= 0.5:
        return None
    best = max(known, key=lambda name: known[name])
    equal = ("2-mer" in known and abs(known["2-mer"] - 0.5) < TIE) if shuffled is None else shuffled
    return Composition(split, best, known[best], models, matched, sizes, equal)
