"""Small sets used in teaching: short motifs in random DNA, and a motif in the centre of random DNA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import Dataset, Split
from tuner.data.sampling import UNIFORM, Matrix, draw, plant
from tuner.data.sequence import encode_one
from tuner.data.splits import stratified
from tuner.errors import DataError
from tuner.motifs.database import Motif, load_database
from tuner.motifs.hocomoco import find_hocomoco

HW4_LENGTH: Final = 101
FOXO1_LENGTH: Final = 100
MOTIF_A: Final = "ACGTG"
MOTIF_B: Final = "TGCAT"
# HOCOMOCO v11, which the exercise draws from, may not be redistributed; JASPAR's motif is the same factor's.
FOXO1_RELEASE: Final = "JASPAR2026"
FOXO1_MOTIF: Final = "MA0480.3"
FOXO1_HOCOMOCO: Final = "FOXO1_HUMAN.H11MO.0.A"
_MIN_GAP, _MAX_GAP = 10, 25


def hw4_single(seed: int = 42, n: int = 8000, motif_probability: float = 1.0) -> Dataset:
    """Simulate ACGTG at a uniform position of 101 random bases.

    Parameters
    ----------
    seed : int
    n : int
        Half of them positives.
    motif_probability : float
        Share of the positives that hold the motif.

    Returns
    -------
    Dataset
        One task; 5600, 800 and 1600 sequences for n = 8000.

    Notes
    -----
    Negatives are not screened: 1 - exp(-97 / 1024) = 9.0 % hold ACGTG by chance, so the best possible AUROC
    is about .955. The exercise also adds Gaussian noise to one-hot inputs, which sequences cannot hold: that is
    `tuner.models.recipe.Recipe.input_noise`.
    """
    if not 0 <= motif_probability <= 1:
        raise DataError(f"motif_probability = {motif_probability}; expected a number from 0 to 1.")
    labels, models, rng = _background(n, seed)
    a = _spelled(MOTIF_A)
    for row in np.flatnonzero(labels):
        if rng.random() < motif_probability:
            plant(models[row], [a], [_place(5, rng)])
    source = f"simulate hw4_single seed={seed} n={n} motif_probability={motif_probability}"
    return _finish("hw4_single", labels, models, rng, seed, source)


def hw4_noise_80(seed: int = 42, n: int = 8000) -> Dataset:
    """Simulate `hw4_single` with the motif in 80 % of the positives only."""
    return _weaker("hw4_noise_80", seed, n, 0.8)


def hw4_noise_60(seed: int = 42, n: int = 8000) -> Dataset:
    """Simulate `hw4_single` with the motif in 60 % of the positives only."""
    return _weaker("hw4_noise_60", seed, n, 0.6)


def _weaker(name: str, seed: int, n: int, motif_probability: float) -> Dataset:
    return replace(hw4_single(seed, n, motif_probability), name=name, source=f"simulate {name} seed={seed} n={n}")


def hw4_multi(seed: int = 7, n: int = 8000) -> Dataset:
    """Simulate ACGTG and TGCAT: both in half of the positives, one of them in a quarter each.

    Parameters and returns as in `hw4_single`. Motifs may overlap; the later one overwrites.
    """
    labels, models, rng = _background(n, seed)
    a, b = _spelled(MOTIF_A), _spelled(MOTIF_B)
    for row in np.flatnonzero(labels):
        kind = rng.random()
        planted = [a, b] if kind < 0.5 else [a] if kind < 0.75 else [b]
        plant(models[row], planted, [_place(5, rng) for _ in planted])
    return _finish("hw4_multi", labels, models, rng, seed, f"simulate hw4_multi seed={seed} n={n}")


def hw4_interaction(seed: int = 13, n: int = 8000) -> Dataset:
    """Simulate a grammar: positives hold ACGTG and, after a gap of 10 to 25 bases, TGCAT.

    A negative holds, with equal chances, ACGTG alone, TGCAT alone, both with a gap above 25, or neither.
    Parameters and returns as in `hw4_single`.
    """
    labels, models, rng = _background(n, seed)
    a, b = _spelled(MOTIF_A), _spelled(MOTIF_B)
    for row, positive in enumerate(labels):
        kind = "near" if positive else ("a", "b", "far", "none")[rng.integers(4)]
        if kind in ("near", "far"):
            low, high = (_MIN_GAP, _MAX_GAP) if kind == "near" else (_MAX_GAP + 1, HW4_LENGTH - 10)
            gap = int(rng.integers(low, high + 1))
            start = _place(10 + gap, rng)
            plant(models[row], [a, b], [start, start + 5 + gap])
        elif kind != "none":
            plant(models[row], [a if kind == "a" else b], [_place(5, rng)])
    return _finish("hw4_interaction", labels, models, rng, seed, f"simulate hw4_interaction seed={seed} n={n}")


def foxo1(seed: int = 0, n: int = 30_000, database: str = FOXO1_RELEASE, motif: str = FOXO1_MOTIF) -> Dataset:
    """Simulate a motif in the centre of 100 random bases against random bases.

    Parameters
    ----------
    seed : int
    n : int
        Half of them positives.
    database : str
        A JASPAR release or the path of a MEME file.
    motif : str
        Its identifier there.

    Returns
    -------
    Dataset
        One task; a third of `n` in each split. The exercise has 10,000 for training, and 10,000 that it validates
        and tests on; here the test split is one of its own.
    """
    found = load_database(database, screen=False).find(motif)
    source = f"simulate foxo1 seed={seed} n={n} database={database} motif={motif}"
    return _centred("foxo1", found, seed, n, source)


def foxo1_hocomoco(seed: int = 0, n: int = 30_000, *, file: Path) -> Dataset:
    """Simulate `foxo1` with the matrix of HOCOMOCO v11, 12 bp, from which the published accuracies come.

    Parameters
    ----------
    seed, n : int
        As in `foxo1`.
    file : Path
        Count matrices as `tuner.motifs.hocomoco.read_hocomoco` reads them.
    """
    source = f"simulate foxo1_hocomoco seed={seed} n={n}"
    return _centred("foxo1_hocomoco", find_hocomoco(file, FOXO1_HOCOMOCO), seed, n, source)


def _centred(name: str, motif: Motif, seed: int, n: int, source: str) -> Dataset:
    width = motif.ppm.shape[1]
    if width > FOXO1_LENGTH:
        raise DataError(f"{motif.id} is {width} bases wide; the sequences have {FOXO1_LENGTH}.")
    labels, models, rng = _background(n, seed, FOXO1_LENGTH)
    start = (FOXO1_LENGTH - width) // 2
    models[labels == 1, :, start : start + width] = motif.ppm
    return _finish(name, labels, models, rng, seed, source, fractions=(1 / 3, 1 / 3, 1 / 3))


def _background(n: int, seed: int, length: int = HW4_LENGTH) -> tuple[NDArray[np.uint8], Matrix, np.random.Generator]:
    """Labels, half 1; uniform models (n, 4, length); the generator."""
    if n < 20 or n % 2:
        raise DataError(f"n = {n}; expected an even number of sequences, 20 or more.")
    labels = np.repeat(np.array([1, 0], dtype=np.uint8), n // 2)
    return labels, np.full((n, 4, length), UNIFORM), np.random.default_rng(seed)


def _spelled(word: str) -> Matrix:
    return np.eye(4)[encode_one(word)].T


def _place(width: int, rng: np.random.Generator) -> int:
    return int(rng.integers(HW4_LENGTH - width + 1))


def _finish(
    name: str,
    labels: NDArray[np.uint8],
    models: Matrix,
    rng: np.random.Generator,
    seed: int,
    source: str,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
) -> Dataset:
    uniforms = rng.random((models.shape[0], models.shape[2]))
    whole = Split(draw(models, uniforms), labels[:, None], truth=models.astype(np.float32))
    parts = stratified(labels, fractions, seed=seed)
    return Dataset(name, ("bound",), {k: whole.take(rng.permutation(v)) for k, v in parts.items()}, source)
