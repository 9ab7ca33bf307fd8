"""Attribution of a mean logit: the mean of the effects on each network and each strand.

Every method of :data:`~tuner.interpret.attribution.ATTRIBUTIONS` has effects that are linear in the output, so the
effects of a mean are the mean of the effects. On the reverse strand a network reads the reverse complement of the
sequence and of the same references, and its effects are turned back onto the given strand. Each network is attributed
by itself, on one strand at a time, so whatever makes a method fast for a single network stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tuner.data.dataset import canonical
from tuner.genome.sequence import Codes, one_hot, reverse_complement
from tuner.interpret.references import make_references
from tuner.interpret.target import FloatArray, Target
from tuner.models.ensemble import MeanLogit


class Reading(NamedTuple):
    """One network of a mean logit, and the strands on which it is read.

    Attributes
    ----------
    network : torch.nn.Module
        Maps (n, 4, length) to (n, n_tasks).
    strands : tuple of bool
        For each strand that is read, whether it is the reverse one.
    """

    network: nn.Module
    strands: tuple[bool, ...]


def readings(network: nn.Module, output: str) -> list[Reading]:
    """List the readings whose mean an output is; the network itself if the output is no such mean.

    A probability is the sigmoid of the mean logit, which is not linear in the networks, so it is attributed as one
    network.

    Parameters
    ----------
    network : torch.nn.Module
        A :class:`~tuner.models.ensemble.MeanLogit`, or any network.
    output : str
        "logit" or "probability".
    """
    if not isinstance(network, MeanLogit) or output != "logit":
        return [Reading(network, (False,))]
    return [
        Reading(one, (False, True) if both else (False,))
        for one, both in zip(network.networks, network.average_strands, strict=True)
    ]


class MeanEffects(NamedTuple):
    """Effects of a mean, and of what it is made.

    Attributes
    ----------
    effects : numpy.ndarray, shape=(n, 4, length), float32
        Mean over the networks, on the given strand.
    consensus : numpy.ndarray, shape=(n,), float64, or None
        Agreement of the networks as :func:`agreement` measures it; None if there is one network.
    engine : str
        Implementations used, without repetition.
    """

    effects: FloatArray
    consensus: NDArray[np.float64] | None
    engine: str


def mean_effects(
    read: Sequence[Reading],
    codes: Codes,
    references: Codes,
    *,
    target: Callable[[nn.Module], Target],
    compute: Callable[[Target, Codes, Codes], FloatArray],
    contribute: Callable[[FloatArray, FloatArray], FloatArray],
    engine: Callable[[Target], str],
) -> MeanEffects:
    """Compute the mean effects over networks and strands.

    Parameters
    ----------
    read : sequence of Reading
        What is averaged: each network's mean over its strands counts the same.
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray, shape=(n, n_references, length), uint8
    target : callable
        Network -> the output to attribute.
    compute, contribute, engine : callable
        As in :class:`~tuner.interpret.attribution.Method`; `compute` takes target, codes and references.
    """
    turned = reverse_complement(codes), reverse_complement(references)
    parts: list[FloatArray] = []
    engines: dict[str, None] = {}
    for network, strands in read:
        one = target(network)
        engines[engine(one)] = None
        sides = [compute(one, *turned)[:, ::-1, ::-1] if back else compute(one, codes, references) for back in strands]
        parts.append(_mean(sides))
    x = one_hot(codes).numpy()
    scores = [contribute(part, x).sum(axis=1) for part in parts] if len(parts) > 1 else []
    return MeanEffects(_mean(parts), agreement(scores) if scores else None, "; ".join(engines))


def _mean(parts: Sequence[FloatArray]) -> FloatArray:
    """Mean of arrays; a single one as it is."""
    if len(parts) == 1:
        return parts[0]
    total = parts[0].astype(np.float64)
    for part in parts[1:]:
        total += part
    return np.asarray(total / len(parts), dtype=np.float32)


def agreement(scores: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Measure how well the contributions of several networks agree, sequence by sequence.

    Parameters
    ----------
    scores : sequence of numpy.ndarray, shape=(n, length)
        Position scores of each network; at least two.

    Returns
    -------
    numpy.ndarray, shape=(n,), float64
        Pearson correlation over positions, averaged over all pairs of networks; NaN where the scores of a network are
        all equal.
    """
    centred = [one.astype(np.float64) - one.mean(axis=1, keepdims=True, dtype=np.float64) for one in scores]
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = [one / np.sqrt(np.square(one).sum(axis=1, keepdims=True)) for one in centred]
    return np.asarray(np.mean([(one * other).sum(axis=1) for one, other in combinations(scaled, 2)], axis=0))


def references_for(
    network: nn.Module, codes: Codes, n_references: int, *, shuffle: str = "dinucleotide", seed: int = 0
) -> NDArray[np.uint8]:
    """Make the references with which a network's attributions compare sequences.

    Where both strands have the same logit, the references of a reverse complement are the reverse complements of the
    references, so that its contributions are those of the sequence, turned.

    Parameters
    ----------
    network : torch.nn.Module
        The network that will be attributed.
    codes, n_references, shuffle, seed
        As for :func:`~tuner.interpret.references.make_references`.

    Returns
    -------
    numpy.ndarray, shape=(n, n_references, length), uint8

    Raises
    ------
    AttributionError
        As for :func:`~tuner.interpret.references.make_references`.
    """
    if not (isinstance(network, MeanLogit) and network.strandless):
        return make_references(codes, n_references, shuffle=shuffle, seed=seed)
    first = canonical(codes)
    made = make_references(first, n_references, shuffle=shuffle, seed=seed)
    turned = (first != codes).any(axis=1)
    made[turned] = reverse_complement(made[turned])
    return made
