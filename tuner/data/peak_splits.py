"""Splits windows around peaks: whole chromosomes, and what a rule asks beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import SPLITS, Split
from tuner.data.partition import by_chromosome, first_only, kin, partition, rule_of
from tuner.data.spec import DataSpec
from tuner.genome.coordinates import parse_interval
from tuner.genome.intervals import Axis, Index

SHUFFLED: Final = "_shuffled"
"""Ends the name of a shuffled window."""


def split_chromosomes(
    axis: Axis, start: Index, labels: NDArray[np.uint8], spec: DataSpec, name: str
) -> tuple[dict[int, str], str]:
    """Choose the split of each chromosome that has sites.

    Parameters
    ----------
    axis : Axis
    start : numpy.ndarray, shape=(n,), int64
        First positions of the sites, on the axis.
    labels : numpy.ndarray, shape=(n, n_tasks), uint8
    spec : DataSpec
    name : str
        For errors and the note.

    Returns
    -------
    dict of int to str, str
        By the number of the chromosome; and a note of the choice.
    """
    number = axis.chromosome(start)
    if dealt_later(spec):
        return {int(i): SPLITS[0] for i in np.unique(number)}, ""
    names = np.array([axis.names[int(i)] for i in number])
    part, note = by_chromosome(names, labels, rule_of(spec), name)
    return {int(i): SPLITS[int(part[number == i][0])] for i in np.unique(number)}, note


def dealt_later(spec: DataSpec) -> bool:
    """Whether windows of all chromosomes are split after the negatives are drawn, or not at all."""
    return rule_of(spec).by in ("random", "homology") or len(spec.shares) == 1


def resplit(parts: dict[str, Split], spec: DataSpec, name: str) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Apply what a rule asks beside whole chromosomes: relatives in one split, or none of them after training.

    Parameters
    ----------
    parts : dict of str to Split
        With ids and groups.
    spec : DataSpec
    name : str
        For errors and notes.

    Returns
    -------
    dict of str to Split, tuple of str
        The splits, and notes.
    """
    if len(spec.shares) == 1:
        return parts, ()
    if rule_of(spec).by == "chromosome":
        return _by_chromosomes(parts), ()
    if dealt_later(spec):
        [whole] = parts.values()
        found = partition(whole.codes, whole.labels, rule_of(spec), source=name, groups=whole.groups)
        grouped = replace(whole, groups=found.groups)
        return {part: grouped.take(rows) for part, rows in found.rows.items()}, found.notes
    names = list(parts)
    codes = np.concatenate([parts[part].codes for part in names])
    groups = np.concatenate([np.asarray(parts[part].groups) for part in names])
    number = np.repeat(np.arange(len(names)), [len(parts[part]) for part in names])
    labelled = np.concatenate([parts[part].labels.any(axis=1) for part in names])
    clusters = kin(codes, groups)
    stays = first_only(number, clusters)
    kept: dict[str, Split] = {}
    notes = []
    for i, part in enumerate(names):
        own = number == i
        kept[part] = replace(parts[part], groups=clusters[own]).take(np.flatnonzero(stays[own]))
        if gone := int((~stays[own]).sum()):
            bound = int((own & ~stays & labelled).sum())
            notes.append(
                f"{name}: {gone} of {int(own.sum())} windows of {part} ({bound} of them positive) have relatives in "
                f"{' or '.join(names[:i])} and were left out."
            )
    return kept, tuple(notes)


def _by_chromosomes(parts: dict[str, Split]) -> dict[str, Split]:
    """Group windows by chromosome, so that folds hold whole chromosomes too; negatives of a FASTA file have none."""
    places = {part: [parse_interval(one.removesuffix(SHUFFLED)) for one in s.ids or ()] for part, s in parts.items()}
    if any(place is None for listed in places.values() for place in listed):
        return parts
    names = {part: [place.chrom for place in listed if place is not None] for part, listed in places.items()}
    number = {name: i for i, name in enumerate(sorted({one for listed in names.values() for one in listed}))}
    return {
        part: replace(split, groups=np.array([number[one] for one in names[part]], dtype=np.int64))
        for part, split in parts.items()
    }
