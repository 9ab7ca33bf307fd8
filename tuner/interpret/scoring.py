"""Scores attributions against ground truth: do the bases of a planted motif have the highest contributions?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tuner.data.dataset import Split
from tuner.errors import AttributionError, DataError
from tuner.genome.sequence import Codes
from tuner.interpret.attribution import ATTRIBUTIONS, Attribution, attribute
from tuner.interpret.averaged import references_for
from tuner.interpret.completeness import check_completeness
from tuner.models.metrics import SCORES

INFORMATIVE = 0.01
"""Information content in bits above which a position is part of a motif (Koo & Ploenzke 2021, published code)."""
AREAS = ("auroc", "aupr", "average_precision")
"""Fields of `AttributionScore` that are recorded."""
_CHECKED = 20  # number of sequences whose completeness is checked


def informative_positions(truth: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Find the positions that are part of a motif in the true matrix.

    Parameters
    ----------
    truth : numpy.ndarray, shape=(n, 4, length)
        Probabilities from which each sequence was drawn.

    Returns
    -------
    numpy.ndarray, shape=(n, length), bool
        Whether the information content, 2 + sum p log2 p, is above .01 bit.
    """
    p = truth.astype(np.float64)
    return np.asarray(2 + (p * np.log2(p + 1e-7)).sum(axis=1) > INFORMATIVE)


class AttributionScore(NamedTuple):
    """How well contribution scores find the informative positions.

    Attributes
    ----------
    auroc, aupr, average_precision : float
        Means over sequences. `aupr` is the area by the trapezoidal rule, as in the paper. That rule interpolates
        linearly across tied scores, so a constant network gets (1 + share of informative positions) / 2, more than
        many trained networks; its average precision is that share.
    aurocs, auprs, average_precisions : numpy.ndarray, shape=(n,), float64
        One value per scored sequence, in order.
    n : int
        Number of scored sequences.
    left_out : int
        Number of sequences that are not scored because all or none of their positions are informative.
    """

    auroc: float
    aupr: float
    average_precision: float
    aurocs: NDArray[np.float64]
    auprs: NDArray[np.float64]
    average_precisions: NDArray[np.float64]
    n: int
    left_out: int


def score_attributions(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> AttributionScore:
    """Compare position scores with ground truth, sequence by sequence (Koo & Ploenzke 2021).

    Parameters
    ----------
    scores : numpy.ndarray, shape=(n, length)
        Signed scores, as in :class:`~tuner.interpret.attribution.Attribution`; higher means motif.
    truth : numpy.ndarray, shape=(n, 4, length)
        Probabilities from which each sequence was drawn.

    Returns
    -------
    AttributionScore

    Raises
    ------
    AttributionError
        If the shapes do not fit, or no sequence has both kinds of position.
    """
    if truth.ndim != 3 or scores.shape != (len(truth), truth.shape[-1]) or truth.shape[1] != 4:
        raise AttributionError(
            f"scores have shape {scores.shape} and truth {truth.shape}; expected (n, length) and (n, 4, length)."
        )
    labels = informative_positions(truth)
    scorable = labels.any(axis=1) & ~labels.all(axis=1)
    if not scorable.any():
        raise AttributionError(
            f"none of {len(truth)} sequences has both informative and background positions, so "
            f"attribution cannot be scored. Score sequences with a planted motif."
        )
    rows = [
        [SCORES[name](label, score) for name in ("auroc", "trapezoid_aupr", "average_precision")]
        for label, score in zip(labels[scorable], scores[scorable], strict=True)
    ]
    table = np.array(rows)
    means = table.mean(axis=0)
    n = len(table)
    return AttributionScore(
        float(means[0]), float(means[1]), float(means[2]), table[:, 0], table[:, 1], table[:, 2], n, len(truth) - n
    )


def positive_sequences(split: Split, n: int, *, task: int = 0) -> tuple[Codes, NDArray[np.float32]]:
    """Take the first positives of a split together with their ground truth.

    Parameters
    ----------
    split : Split
    n : int
        Largest number of sequences.
    task : int
        Task whose positives are taken.

    Returns
    -------
    tuple
        Codes, shape=(n, length), and truth, shape=(n, 4, length).

    Raises
    ------
    DataError
        If the split has no ground truth, no such task, or no positive of the task.
    """
    if split.truth is None:
        raise DataError(
            "these sequences have no ground truth, so attribution cannot be scored. "
            "Use simulated data (tuner simulate), or leave attribution out."
        )
    if not 0 <= task < split.labels.shape[1]:
        raise DataError(f"task {task} does not exist: the labels have {split.labels.shape[1]}. Count from 0.")
    rows = np.flatnonzero(split.labels[:, task])[:n]
    if not len(rows):
        raise DataError(f"no positive of task {task} among {len(split)} sequences: there is nothing to attribute.")
    return split.codes[rows], split.truth[rows]


def attribution_scores(
    network: nn.Module,
    split: Split,
    *,
    methods: Sequence[str] = ("saliency", "mutagenesis", "integrated_gradients", "deep_shap"),
    n_sequences: int = 500,
    task: int = 0,
    output: str = "logit",
    n_references: int = 10,
    shuffle: str = "dinucleotide",
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:
    """Attribute the first positives of a split and score each method against ground truth.

    Parameters
    ----------
    network : torch.nn.Module
        Trained network; a :class:`~tuner.models.ensemble.MeanLogit` where its predictions average both strands.
    split : Split
        Must have `truth`.
    methods : sequence of str
        Keys of :data:`~tuner.interpret.attribution.ATTRIBUTIONS`.
    n_sequences : int
        Number of positives; the first of the split are used.
    task, output, shuffle, seed, device
        As for :func:`~tuner.interpret.attribution.attribute`.
    n_references : int
        Number of shuffles per sequence; all methods use the same ones.

    Returns
    -------
    dict of str to float
        ``{method}_auroc``, ``{method}_aupr`` and ``{method}_average_precision`` of every method.

    Raises
    ------
    DataError
        If the split has no ground truth, or no positive of the task.
    AttributionError
        If a name is unknown, or the contributions of a complete method do not add up; the message names the layer.
    """
    codes, truth = positive_sequences(split, n_sequences, task=task)
    references = references_for(network, codes, n_references, shuffle=shuffle, seed=seed)
    found: dict[str, float] = {}
    for method in methods:
        result = attribute(method, network, codes, output=output, task=task, references=references, device=device)
        if ATTRIBUTIONS[method].complete:
            check_completeness(network, codes[:_CHECKED], result, device=device)
        score = score_attributions(result.scores, truth)
        found.update({f"{method}_{area}": getattr(score, area) for area in AREAS})
    return found


def background_scores(
    network: nn.Module,
    split: Split,
    *,
    counts: Sequence[int] = (1, 3, 5, 10, 15, 20, 25),
    methods: Sequence[str] = ("deep_shap", "integrated_gradients"),
    n_sequences: int = 500,
    task: int = 0,
    output: str = "logit",
    shuffle: str = "dinucleotide",
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:
    """Score methods with the first k references, for several values of k.

    Each reference is used once, because the effects of a method are the mean of its effects over single references.

    Parameters
    ----------
    counts : sequence of int
        Numbers of references, each at least 1.
    network, split, methods, n_sequences, task, output, shuffle, seed, device
        As for :func:`attribution_scores`; every method needs references.

    Returns
    -------
    dict of str to float
        ``{method}_auroc_r{k}``, ``{method}_aupr_r{k}`` and ``{method}_average_precision_r{k}``.

    Raises
    ------
    DataError
        As for :func:`attribution_scores`.
    AttributionError
        If a name is unknown, a method uses no references, or a count is below 1.
    """
    if not counts or min(counts) < 1:
        raise AttributionError(
            f"counts is {tuple(counts)}; expected one or more numbers of references, each at least 1."
        )
    codes, truth = positive_sequences(split, n_sequences, task=task)
    references = references_for(network, codes, max(counts), shuffle=shuffle, seed=seed)
    found: dict[str, float] = {}
    for method in methods:
        total: NDArray[np.float64] = np.zeros(codes.shape)
        for k in range(max(counts)):
            one: Attribution = attribute(
                method, network, codes, output=output, task=task, references=references[:, k : k + 1], device=device
            )
            if not one.references.shape[1]:
                used = ", ".join(name for name, row in ATTRIBUTIONS.items() if row.needs_references)
                raise AttributionError(f"{method} uses no references. Use: {used}.")
            total += one.scores
            if k + 1 in counts:
                score = score_attributions(total / (k + 1), truth)
                found.update({f"{method}_{area}_r{k + 1}": getattr(score, area) for area in AREAS})
    return found
