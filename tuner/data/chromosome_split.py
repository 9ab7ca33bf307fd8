"""Splits by chromosome: whole chromosomes for validation and test, chosen so that sites have the wanted shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tuner.data.dataset import SPLITS
from tuner.errors import DataError

_TRIES = 500


def chromosome_split(sizes: Mapping[str, int], fractions: Sequence[float], seed: int = 0) -> dict[str, str]:
    """Choose the split of each chromosome.

    Parameters
    ----------
    sizes : mapping of str to int
        Number of sites on each chromosome.
    fractions : sequence of float
        Shares of train, valid and test.
    seed : int
        The same seed gives the same split.

    Returns
    -------
    dict of str to str
        Chromosome -> ``train``, ``valid`` or ``test``. Of 500 random assignments, the one whose shares are nearest.

    Raises
    ------
    DataError
        If fewer than three chromosomes have sites.
    """
    names = [name for name, n in sizes.items() if n]
    if len(names) < len(SPLITS):
        raise DataError(
            f"a split by chromosome needs sites on at least three chromosomes, one for each of train, valid and test; "
            f"these are on {len(names)} ({', '.join(names) or 'none'}). Give the peaks of the whole genome."
        )
    counts = np.array([sizes[name] for name in names], dtype=np.float64)
    wanted = np.array([*fractions[1:], fractions[0]]) * counts.sum()  # train is filled last
    rng = np.random.default_rng(seed)
    best, least = np.zeros(len(names), dtype=np.int64), np.inf
    for _ in range(_TRIES):
        part = np.full(len(names), 2)
        order = rng.permutation(len(names)).tolist()
        for which in (0, 1):
            filled = 0.0
            for i in order:
                left = int((part == 2).sum())
                nearer = abs(filled + counts[i] - wanted[which]) < abs(filled - wanted[which])
                if part[i] == 2 and nearer and left > 2 - which:  # one chromosome stays for each split that follows
                    part[i] = which
                    filled += counts[i]
        found = np.bincount(part, weights=counts, minlength=3)
        off = float(np.abs(found - wanted).max()) if (found > 0).all() else np.inf
        if off < least:
            best, least = part, off
    if not np.isfinite(least):  # one chromosome outweighs all others
        largest = np.argsort(-counts, kind="stable")
        best = np.full(len(names), 2)
        best[largest[-1]], best[largest[-2]] = 0, 1
    words = np.array([SPLITS[1], SPLITS[2], SPLITS[0]])
    return {name: str(words[i]) for name, i in zip(names, best.tolist(), strict=True)}
