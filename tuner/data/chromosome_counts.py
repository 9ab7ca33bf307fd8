"""How many sequences of each split lie on each chromosome."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from tuner.data.dataset import Dataset
from tuner.data.peak_splits import SHUFFLED
from tuner.genome.chromosomes import ordered_names
from tuner.genome.coordinates import parse_interval

MOST: Final = 40
"""Chromosomes that are counted by themselves; further ones, those with the fewest sequences, are one."""
OTHERS: Final = "others"


class ChromosomeCounts(NamedTuple):
    """Sequences by chromosome and split.

    Attributes
    ----------
    names : tuple of str
        Chromosomes in their order; the last one may be `OTHERS`.
    counts : dict of str to tuple of int
        Split -> number of its sequences on each chromosome.
    """

    names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]


def chromosome_counts(dataset: Dataset) -> ChromosomeCounts | None:
    """Count the sequences of each split on each chromosome; labels are not read.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    ChromosomeCounts or None
        None if a sequence has no coordinates.
    """
    found: dict[str, Counter[str]] = {}
    for split, part in dataset.splits.items():
        places = [parse_interval(one.removesuffix(SHUFFLED)) for one in part.ids or ()]
        if not places or any(place is None for place in places):
            return None
        found[split] = Counter(place.chrom for place in places if place is not None)
    total = sum(found.values(), Counter())
    kept = [name for name, _ in sorted(total.items(), key=lambda item: -item[1])[:MOST]]
    names = ordered_names(kept)
    rest = {split: count.total() - sum(count[name] for name in names) for split, count in found.items()}
    more = any(rest.values())
    return ChromosomeCounts(
        (*names, OTHERS) if more else names,
        {s: tuple(count[name] for name in names) + ((rest[s],) if more else ()) for s, count in found.items()},
    )
