"""Effect of a motif on the output when it is inserted into sequences (Greenside et al. 2018; Avsec et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t
from torch import nn

from tuner.errors import AttributionError, unknown
from tuner.genome.sequence import Codes, reverse_complement
from tuner.interpret.references import make_references
from tuner.interpret.target import Target, check_codes
from tuner.models.prediction import exact_kernels
from tuner.motifs.meme import check_ppm


class Marginal(NamedTuple):
    """Change of the logit when a motif is inserted.

    Attributes
    ----------
    effect : float
        Mean over backgrounds, natural log-odds.
    low, high : float
        95 % interval of the mean (Student's t over backgrounds).
    n : int
        Number of backgrounds.
    """

    effect: float
    low: float
    high: float
    n: int


def _consensus(ppm: NDArray[np.float64], n: int, rng: np.random.Generator) -> Codes:
    return np.tile(ppm.argmax(axis=0).astype(np.uint8), (n, 1))


def _sample(ppm: NDArray[np.float64], n: int, rng: np.random.Generator) -> Codes:
    drawn = rng.random((n, 1, ppm.shape[1])) > np.cumsum(ppm, axis=0)[:3]  # (n, 3, width): bases passed over
    return np.asarray(drawn.sum(axis=1), dtype=np.uint8)


INSERTS: Mapping[str, Callable[[NDArray[np.float64], int, np.random.Generator], Codes]] = MappingProxyType(
    {"consensus": _consensus, "sample": _sample}
)
"""Name -> what is inserted: the most probable base of every column, or a draw from the matrix for each background."""


def marginalise(
    network: nn.Module,
    ppms: Sequence[NDArray[np.floating]],
    codes: Codes,
    *,
    task: int = 0,
    device: str = "cpu",
    seed: int = 0,
    n: int = 100,
    insert: str = "consensus",
) -> tuple[Marginal, ...]:
    """Measure the mean change of the logit when each motif is inserted at the centre of shuffled sequences.

    Each motif is inserted once as given and once as its reverse complement, and the two changes are averaged, so the
    result does not depend on the strand of the matrix.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, 4, length) one-hot to (n, n_tasks) logits. It is copied and not changed.
    ppms : sequence of numpy.ndarray, shape=(4, width)
        Matrices; trim them first, because flat flanks have no consensus.
    codes : numpy.ndarray, shape=(n_sequences, length), uint8
        Backgrounds are dinucleotide shuffles of `n` of them, drawn without replacement if there are enough.
    task : int
        Index of the task.
    device : str
        As for :func:`~tuner.models.prediction.resolve_device`.
    seed : int
        Seed of the draw, the shuffles and the samples.
    n : int
        Number of backgrounds, the same for every motif; at least 2.
    insert : str
        A key of :data:`INSERTS`.

    Returns
    -------
    tuple of Marginal
        One per matrix, in order.

    Raises
    ------
    AttributionError
        If `insert` is unknown, `n` is below 2, sequences do not fit the network, or a motif is wider than they are.
    MotifError
        If a matrix is not valid.
    DeviceError
        If the device does not exist.
    """
    if insert not in INSERTS:
        raise AttributionError(unknown("kind of insert", insert, INSERTS))
    if n < 2:
        raise AttributionError(f"n is {n}; an interval needs at least 2 backgrounds.")
    check_codes(network, codes, task)
    length = codes.shape[1]
    matrices = [check_ppm(ppm, f"motif {index}") for index, ppm in enumerate(ppms)]
    for index, ppm in enumerate(matrices):
        if ppm.shape[1] > length:
            raise AttributionError(
                f"motif {index} has {ppm.shape[1]} columns and does not fit into sequences of {length} bp."
            )
    target = Target(network, task=task, device=device)
    background = _backgrounds(codes, n, seed)
    results = []
    with exact_kernels(target.place):
        before = target.values(background)
        for index, ppm in enumerate(matrices):
            inserted = INSERTS[insert](ppm, n, np.random.default_rng([seed, index]))
            after = [target.values(_place(background, word)) for word in (inserted, reverse_complement(inserted))]
            results.append(_interval(np.mean(after, axis=0) - before))
    return tuple(results)


def _backgrounds(codes: Codes, n: int, seed: int) -> Codes:
    order = np.random.default_rng(seed).permutation(len(codes))[:n]
    each = -(-n // len(order))  # more than 1 only where there are fewer sequences than n
    shuffled = make_references(codes[order], each, seed=seed)  # (rows, each, length)
    return np.concatenate(shuffled.transpose(1, 0, 2))[:n]


def _place(background: Codes, words: Codes) -> Codes:
    """Write each word into the centre of its background."""
    placed = background.copy()
    start = (background.shape[1] - words.shape[1]) // 2
    placed[:, start : start + words.shape[1]] = words
    return placed


def _interval(changes: NDArray[np.float64]) -> Marginal:
    n, effect = len(changes), float(changes.mean())
    half = float(t.ppf(0.975, n - 1) * changes.std(ddof=1) / np.sqrt(n))
    return Marginal(effect, effect - half, effect + half, n)
