"""Simulates Tasks 1 and 3 of Koo & Ploenzke 2021 (Nat Mach Intell 3:258-266), with identical sequences.

Both draw from NumPy's legacy RandomState in the order of the published generators, so that the published seeds give the
published sequences. The motifs are JASPAR 2016 CORE vertebrates sorted by matrix ID.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.sampling import UNIFORM, Matrix, both_strands, draw, plant
from tuner.errors import DataError
from tuner.genome.sequence import Codes
from tuner.motifs.database import load_database

LENGTH: Final = 200
TASK1_MOTIFS: Final = (
    "Arid3a", "CEBPB", "FOSL1", "Gabpa", "MAFK", "MAX", "MEF2A", "NFYB", "SP1", "SRF", "STAT1", "YY1",
)  # fmt: skip
TASK3_MOTIFS: Final = ("SP1", "Gabpa", "CEBPB", "MAX", "YY1")
# P(fewest + i motifs) = .50, .25, .17, .05, .03, as cumulative sums of the published numbers.
_CUMULATIVE: Final = np.cumsum([0, 0.5, 0.25, 0.17, 0.05])
# Task 3 draws 65 motifs and drops these before taking 50. The published list contains positions among the 65 but is
# subtracted from motif numbers, so motifs similar to the planted ones remain; this is kept to get the same data.
_TASK3_DROPPED: Final = (4, 5, 12, 15, 17, 18, 20, 36, 42, 60)
# Drawn with seed 22 and not on that list, although they are of the E-box and ETS families of MAX and Gabpa.
_TASK3_ALIKE: Final = ("Arnt", "BHLHE40", "HEY1", "MLXIPL", "SPI1")


class _Drawn(NamedTuple):
    codes: Codes
    truth: NDArray[np.float32]
    motifs: list[NDArray[np.int64]]  # indices in the pool, per sequence


def task1(seed: int = 33, n: int = 30_000) -> Dataset:
    """Simulate Task 1: predict which of 12 factors have a motif in the sequence.

    Parameters
    ----------
    seed : int
        33 gives the published data set.
    n : int
        Total number of sequences; 30,000 in the published data set.

    Returns
    -------
    Dataset
        12 tasks, 200 bp, with ground truth; every sequence contains 1 to 5 motifs.
    """
    _check_size(n)
    rng = np.random.RandomState(seed)
    pool = both_strands([ppm for _, ppm in _named(TASK1_MOTIFS)])
    drawn = _draw(rng, pool, n, fewest=1)
    labels = np.zeros((n, len(TASK1_MOTIFS)), dtype=np.uint8)
    for row, motifs in enumerate(drawn.motifs):
        labels[row, motifs // 2] = 1
    splits = _split(rng, drawn.codes, labels, drawn.truth)
    return Dataset("task1", TASK1_MOTIFS, splits, f"simulate task1 seed={seed} n={n}")


def task3(seed: int = 22, n: int = 20_000) -> Dataset:
    """Simulate Task 3: sequences with 3 to 7 motifs out of 5, against sequences with as many out of a mixture of 55.

    Parameters
    ----------
    seed : int
        22 gives the published data set.
    n : int
        Total number of positives and negatives; 20,000 in the published data set.

    Returns
    -------
    Dataset
        One task, 200 bp, with ground truth.
    """
    return _task3("task3", seed, n, _published_background)


def task3_corrected(seed: int = 22, n: int = 20_000) -> Dataset:
    """Simulate Task 3 with all motifs that resemble the planted ones removed from the background.

    The ten motifs at the published positions among the 65 are dropped, and also five more E-box and ETS factors that
    are not in the published list; 50 remain. Parameters and return value are as in `task3`.
    """
    return _task3("task3_corrected", seed, n, corrected_background)


def _published_background(chosen: Sequence[int]) -> list[int]:
    # The published order is that of this set of small integers in CPython; digests in the tests verify it.
    return list(set(chosen) - set(_TASK3_DROPPED))[:50]


def corrected_background(chosen: Sequence[int]) -> list[int]:
    """Select the drawn motif numbers that resemble no planted motif: at most 50, in the order drawn."""
    motifs = load_database("JASPAR2016", screen=False).motifs
    kept = [number for position, number in enumerate(chosen) if position not in _TASK3_DROPPED]
    return [number for number in kept if motifs[number].name not in _TASK3_ALIKE][:50]


def _task3(name: str, seed: int, n: int, choose: Callable[[Sequence[int]], list[int]]) -> Dataset:
    _check_size(n)
    rng = np.random.RandomState(seed)
    all_ppms = [motif.ppm for motif in load_database("JASPAR2016", screen=False).motifs]
    pool = both_strands([ppm for _, ppm in _named(TASK3_MOTIFS)])
    background = choose(rng.permutation(len(all_ppms))[:65].tolist())
    mixture = pool + both_strands([all_ppms[i] for i in background])
    half = n // 2
    positive, negative = _draw(rng, pool, half, fewest=3), _draw(rng, mixture, half, fewest=3)
    codes = np.concatenate([positive.codes, negative.codes])
    truth = np.concatenate([positive.truth, negative.truth])
    labels = np.repeat(np.array([[1], [0]], dtype=np.uint8), half, axis=0)
    return Dataset(name, ("bound",), _split(rng, codes, labels, truth), f"simulate {name} seed={seed} n={n}")


def _check_size(n: int) -> None:
    if n < 20 or n % 2:
        raise DataError(f"n = {n}; expected an even number of sequences, 20 or more.")


def _named(names: Sequence[str]) -> list[tuple[str, Matrix]]:
    """Find the first motif with each name, in ID order, as the published generators do."""
    motifs = load_database("JASPAR2016", screen=False).motifs
    return [next((m.id, m.ppm) for m in motifs if m.name == name) for name in names]


def _draw(rng: np.random.RandomState, pool: Sequence[Matrix], n: int, fewest: int) -> _Drawn:
    """Draw `n` sequences; the order of the random draws is the published one and must not change."""
    widths = np.array([ppm.shape[1] for ppm in pool])
    codes = np.empty((n, LENGTH), dtype=np.uint8)
    truth = np.empty((n, 4, LENGTH), dtype=np.float32)
    planted = []
    for row in range(n):
        while True:
            count = int((rng.rand() > _CUMULATIVE).nonzero()[0][-1]) + fewest
            motifs = rng.randint(len(pool), size=count)
            free = LENGTH - int(widths[motifs].sum())
            if free > 0:
                break
        while True:
            gaps = rng.uniform(0, 1, size=count + 1)
            # The built-in sum adds from left to right; NumPy's pairwise sum rounds differently.
            gaps = np.round(gaps / sum(gaps) * free).astype(int)
            if gaps.sum() == free:
                break
        model = np.full((4, LENGTH), UNIFORM)
        starts = np.cumsum(gaps[:-1]) + np.cumsum(np.concatenate([[0], widths[motifs[:-1]]]))
        plant(model, [pool[i] for i in motifs], starts.tolist())
        codes[row] = draw(model, rng.uniform(0, 1, LENGTH))
        truth[row] = model
        planted.append(motifs)
    return _Drawn(codes, truth, planted)


def _split(
    rng: np.random.RandomState, codes: Codes, labels: NDArray[np.uint8], truth: NDArray[np.float32]
) -> dict[str, Split]:
    n = len(codes)
    bounds = np.cumsum(np.multiply([0, 0.7, 0.1, 0.2], n)).astype(int)
    order = rng.permutation(n)
    whole = Split(codes, labels, truth=truth)
    return {name: whole.take(order[bounds[i] : bounds[i + 1]]) for i, name in enumerate(SPLITS)}
