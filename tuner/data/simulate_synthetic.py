"""Simulates the data set of the ``synthetic`` study: small, learned in a few epochs, classes of equal composition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import Dataset, Split
from tuner.data.sampling import UNIFORM, Matrix, both_strands, draw, plant
from tuner.errors import DataError
from tuner.motifs.database import load_database

LENGTH: Final = 200
# Four strong motifs of four families in JASPAR 2026, two rich and two poor in GC (.69, .77, .20, .42); none of them is
# promiscuous there. A study names these IDs as its targets.
SYNTHETIC_MOTIFS: Final = {"MA0139.2": "CTCF", "MA0506.3": "Nrf1", "MA0052.5": "MEF2A", "MA0466.4": "CEBPB"}
SYNTHETIC_RELEASE: Final = "JASPAR2026"


def synthetic(seed: int = 0, sizes: Sequence[int] = (3000, 400, 800)) -> Dataset:
    """Simulate planted motifs against the same motifs with shuffled columns.

    A positive contains two or three motifs on random strands at random, disjoint positions. A negative contains as
    many, each with its columns in a new random order. GC content and information content are those of the positives and
    there is no decoy motif to learn, so only the motifs themselves separate the classes.

    Parameters
    ----------
    seed : int
    sizes : sequence of int
        Number of sequences of train, valid and test, half of them positives.

    Returns
    -------
    Dataset
        One task, ``bound``, 200 bp, with ground truth.
    """
    if len(sizes) != 3 or min(sizes) < 2:
        raise DataError(f"sizes = {tuple(sizes)}; expected the sizes of train, valid and test, 2 or more each.")
    database = load_database(SYNTHETIC_RELEASE, screen=False)
    pool = both_strands([database.find(motif).ppm for motif in SYNTHETIC_MOTIFS])
    splits = {}
    # One random stream per split, so a larger training set does not change validation and test.
    for name, size, rng in zip(("train", "valid", "test"), sizes, np.random.default_rng(seed).spawn(3), strict=True):
        splits[name] = _split(pool, int(size), rng)
    listed = "-".join(str(size) for size in sizes)
    return Dataset("synthetic", ("bound",), splits, f"simulate synthetic seed={seed} sizes={listed}")


def _split(pool: Sequence[Matrix], size: int, rng: np.random.Generator) -> Split:
    labels = (np.arange(size) < (size + 1) // 2).astype(np.uint8)
    rng.shuffle(labels)
    truth = np.full((size, 4, LENGTH), UNIFORM)
    for row, positive in enumerate(labels):
        ppms = [pool[i] for i in rng.integers(len(pool), size=rng.integers(2, 4))]
        if not positive:
            ppms = [ppm[:, rng.permutation(ppm.shape[1])] for ppm in ppms]
        plant(truth[row], ppms, _starts([ppm.shape[1] for ppm in ppms], rng))
    codes = draw(truth, rng.random((size, LENGTH)))
    return Split(codes, labels[:, None], truth=truth.astype(np.float32))


def _starts(widths: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Draw start positions of disjoint motifs in the given order; every arrangement is equally likely."""
    free = LENGTH - sum(widths)
    offsets: NDArray[np.int64] = np.sort(rng.integers(free + 1, size=len(widths)))
    return [int(offset) + sum(widths[:i]) for i, offset in enumerate(offsets)]
