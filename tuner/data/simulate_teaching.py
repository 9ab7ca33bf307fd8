"""Simulates small data sets for teaching: short motifs in random DNA, and a motif at the centre of random DNA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import Dataset, Split
from tuner.data.sampling import UNIFORM, Matrix, draw, plant
from tuner.data.splits import stratified
from tuner.errors import DataError
from tuner.genome.sequence import encode_one
from tuner.motifs.database import Motif, load_database
from tuner.motifs.hocomoco import find_hocomoco

HW4_LENGTH: Final = 101
FOXO1_LENGTH: Final = 100
MOTIF_A: Final = "ACGTG"
MOTIF_B: Final = "TGCAT"
# HOCOMOCO v11, which the exercise uses, may not be redistributed; this is JASPAR's motif of the same factor.
FOXO1_RELEASE: Final = "JASPAR2026"
FOXO1_MOTIF: Final = "MA0480.3"
FOXO1_HOCOMOCO: Final = "FOXO1_HUMAN.H11MO.0.A"
_MIN_GAP, _MAX_GAP = 10, 25


def hw4_single(seed: int = 42, n: int = 8000, motif_probability: float = 1.0) -> Dataset:
    """Simulate ACGTG at a uniformly drawn position in 101 random bases.

    Parameters
    ----------
    seed : int
    n : int
        Number of sequences, half of them positives.
    motif_probability : float
        Share of the positives that contain the motif.

    Returns
    -------
    Dataset
        One task; 5600, 800 and 1600 sequences for n = 8000.

    Notes
    -----
    Negatives are not screened: 1 - exp(-97 / 1024) = 9.0 % contain ACGTG by chance, so the best possible AUROC is about
    .955. The exercise also adds Gaussian noise to one-hot inputs, which sequences cannot represent; see
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
    """Simulate `hw4_single` with the motif in only 80 % of the positives."""
    return _weaker("hw4_noise_80", seed, n, 0.8)


def hw4_noise_60(seed: int = 42, n: int = 8000) -> Dataset:
    """Simulate `hw4_single` with the motif in only 60 % of the positives."""
    return _weaker("hw4_noise_60", seed, n, 0.6)


def _weaker(name: str, seed: int, n: int, motif_probability: float) -> Dataset:
    return replace(hw4_single(seed, n, motif_probability), name=name, source=f"simulate {name} seed={seed} n={n}")


def hw4_multi(seed: int = 7, n: int = 8000) -> Dataset:
    """Simulate ACGTG and TGCAT: both in half of the positives, each of them alone in a quarter.

    Parameters and return value are as in `hw4_single`. Motifs may overlap; the later one overwrites the earlier one.
    """
    labels, models, rng = _background(n, seed)
    a, b = _spelled(MOTIF_A), _spelled(MOTIF_B)
    for row in np.flatnonzero(labels):
        kind = rng.random()
        planted = [a, b] if kind < 0.5 else [a] if kind < 0.75 else [b]
        plant(models[row], planted, [_place(5, rng) for _ in planted])
    return _finish("hw4_multi", labels, models, rng, seed, f"simulate hw4_multi seed={seed} n={n}")


def hw4_interaction(seed: int = 13, n: int = 8000) -> Dataset:
    """Simulate a grammar: positives contain ACGTG and, after a gap of 10 to 25 bases, TGCAT.

    A negative contains, with equal probability, ACGTG alone, TGCAT alone, both with a gap above 25, or neither.
    Parameters and return value are as in `hw4_single`.
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
    """Simulate a motif at the centre of 100 random bases, against random bases.

    Parameters
    ----------
    seed : int
    n : int
        Number of sequences, half of them positives.
    database : str
        A JASPAR release or the path of a MEME file.
    motif : str
        Identifier of the motif in the database.

    Returns
    -------
    Dataset
        One task; a third of `n` in each split. The exercise has 10,000 sequences for training, and 10,000 for both
        validation and test; here the test split is separate.
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
        File of count matrices for `tuner.motifs.hocomoco.read_hocomoco`.
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
    """Return labels, half of them 1; uniform models, shape=(n, 4, length); and the generator."""
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
