"""What separates positives from negatives before anything is trained: composition, 6-mers, and the named motif.

Everything is measured on training and validation sequences; the test split stays closed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.data.dataset import Dataset, Split
from tuner.genome.sequence import cpg, gc_content
from tuner.models.baselines import fit_baseline
from tuner.models.intervals import Interval, auroc_interval
from tuner.models.pwm import best_sites, threshold
from tuner.motifs.meme import Motif

HIT_P: Final = 1e-4
"""Probability that a random window scores as high as a hit, as FIMO's default."""
MOST: Final = 5_000
"""Training sequences that the 6-mer regression is fitted on; more of them change its AUROC little."""
BINS: Final = 40
"""Bins of a histogram."""
FEWEST_HITS: Final = 20
"""Below this many positives with a hit, nothing is said about where the hits lie."""


class Feature(NamedTuple):
    """How well one number separates the classes of a task.

    Attributes
    ----------
    name : str
        ``gc``, ``cpg`` (observed/expected), ``repeats`` (share of lower-case letters, where the genome is soft-masked)
        or ``6-mer`` (a logistic regression fitted on the training sequences).
    task : str
    auroc : Interval
        Of GC, CpG and repeats over training and validation, above 0.5 where positives have more; of 6-mers on
        validation.
    """

    name: str
    task: str
    auroc: Interval


class MotifHits(NamedTuple):
    """Where one motif of a named target occurs.

    Attributes
    ----------
    target, motif, name : str
        Family as the study names it, identifier of the matrix, and name of the factor.
    task : str
    positives, negatives : float
        Share of the sequences of each class with a hit: a window of p <= `HIT_P` on either strand.
    auroc : Interval
        Of each sequence's best window.
    hits : int
        Positives with a hit.
    distance : float, bp, or None
        Median distance of the best hits of positives from the middle of the sequence; None below `FEWEST_HITS` hits.
    expected : float, bp
        The same for hits that lie anywhere.
    p_value : float or None
        That hits which lie anywhere are as close to the middle on average; None below `FEWEST_HITS` hits.
    """

    target: str
    motif: str
    name: str
    task: str
    positives: float
    negatives: float
    auroc: Interval
    hits: int
    distance: float | None
    expected: float
    p_value: float | None


class Histogram(NamedTuple):
    """How one measure of composition is distributed in each class.

    Attributes
    ----------
    name : str
        ``gc``, ``cpg`` or ``repeats``.
    edges : numpy.ndarray, shape=(n_bins + 1,)
    positives, negatives : numpy.ndarray, shape=(n_bins,)
        Share of the sequences of each class in each bin; a sequence is positive if any task is.
    """

    name: str
    edges: npt.NDArray[np.float64]
    positives: npt.NDArray[np.float64]
    negatives: npt.NDArray[np.float64]


class Places(NamedTuple):
    """Where the hits of a motif lie in positives.

    Attributes
    ----------
    motif, task : str
    edges : numpy.ndarray, shape=(n_bins + 1,), bp
        Signed distance from the middle of the sequence.
    shares : numpy.ndarray, shape=(n_bins,)
        Share of the hits in each bin.
    """

    motif: str
    task: str
    edges: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]


class Audit(NamedTuple):
    """What separates the classes of a data set, and what pictures of it show."""

    features: tuple[Feature, ...]
    motifs: tuple[MotifHits, ...]
    histograms: tuple[Histogram, ...] = ()
    places: tuple[Places, ...] = ()


def audit(dataset: Dataset, targets: Mapping[str, Sequence[Motif]] | None = None, *, regression: bool = True) -> Audit:
    """Measure what separates positives from negatives in training and validation sequences.

    Parameters
    ----------
    dataset : Dataset
        Its test split is not touched.
    targets : mapping of str to sequence of Motif, optional
        Motifs of the families that a study names as its target.
    regression : bool
        Whether to fit the 6-mer regression, which takes seconds.

    Raises
    ------
    DataError, MetricError
        A task of the training or validation split has one class.
    """
    seen = _together(dataset.train, dataset.valid)
    contents = {"gc": gc_content(seen.codes), "cpg": cpg(seen.codes)}
    if seen.repeats is not None:
        contents["repeats"] = seen.repeats.astype(np.float64)
    features = []
    for column, task in enumerate(dataset.tasks):
        labels = seen.labels[:, column]
        features += [Feature(name, task, auroc_interval(labels, values)) for name, values in contents.items()]
    if regression and dataset.length >= 6:
        scores = fit_baseline("6-mer", _smaller(dataset)).score(dataset.valid.codes)
        for column, task in enumerate(dataset.tasks):
            interval = auroc_interval(dataset.valid.labels[:, column], scores[:, column])
            features.append(Feature("6-mer", task, interval))
    hits: list[MotifHits] = []
    places: list[Places] = []
    for target, motifs in (targets or {}).items():
        for motif in motifs:
            if motif.ppm.shape[1] <= dataset.length:
                rows, bins = _hits(target, motif, seen, dataset.tasks)
                hits += rows
                places += bins
    positive = np.asarray(seen.labels.any(axis=1))
    histograms = tuple(_histogram(name, values, positive) for name, values in contents.items())
    return Audit(tuple(features), tuple(hits), histograms, tuple(places))


def _histogram(name: str, values: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> Histogram:
    top = max(1.0, float(np.quantile(values, 0.995))) if name == "cpg" else 1.0
    edges = np.linspace(0.0, top, BINS + 1)
    sides = [
        np.histogram(np.minimum(values[rows], top), edges)[0] / max(1, rows.sum()) for rows in (positive, ~positive)
    ]
    return Histogram(name, edges, *sides)


def _smaller(dataset: Dataset) -> Dataset:
    """The data with so few training sequences that the regression takes seconds."""
    train = dataset.train
    if len(train) <= MOST:
        return dataset
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:MOST])
    return replace(dataset, splits={"train": train.take(rows), "valid": dataset.valid}, sealed=dataset.fingerprint)


def _together(first: Split, second: Split) -> Split:
    known = first.repeats is not None and second.repeats is not None
    return Split(
        np.concatenate([first.codes, second.codes]),
        np.concatenate([first.labels, second.labels]),
        repeats=np.concatenate([first.repeats, second.repeats]) if known else None,
    )


def _hits(target: str, motif: Motif, seen: Split, tasks: Sequence[str]) -> tuple[list[MotifHits], list[Places]]:
    sites = best_sites(seen.codes, motif.ppm)
    hit = sites.scores >= threshold(motif.ppm, HIT_P)
    length, width = seen.codes.shape[1], motif.ppm.shape[1]
    signed = sites.centres - (length - 1) / 2
    distances = np.abs(signed)
    edges = np.linspace(-length / 2, length / 2, BINS + 1)
    anywhere = np.abs(np.arange(length - width + 1) + (width - 1) / 2 - (length - 1) / 2)
    rows, places = [], []
    for column, task in enumerate(tasks):
        labels = seen.labels[:, column]
        bound = labels == 1
        near = distances[bound & hit]
        if len(near) >= FEWEST_HITS:
            shares = np.histogram(signed[bound & hit], edges)[0] / len(near)
            places.append(Places(motif.id, task, edges, shares))
        distance, p_value = (None, None) if len(near) < FEWEST_HITS else centrality(near, anywhere)
        rows.append(
            MotifHits(
                target, motif.id, motif.name, task, float(hit[bound].mean()), float(hit[~bound].mean()),
                auroc_interval(labels, sites.scores), len(near), distance, float(np.median(anywhere)), p_value,
            )
        )  # fmt: skip
    return rows, places


def centrality(distances: npt.NDArray[np.float64], anywhere: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Test whether sites lie closer to the middle of their sequences than sites that lie anywhere.

    Parameters
    ----------
    distances : numpy.ndarray, shape=(n,), bp
        Of the sites from the middle; at least about twenty.
    anywhere : numpy.ndarray, shape=(positions,), bp
        Of every position where a site can lie.

    Returns
    -------
    median, p_value : float
        Median distance, and the one-sided p-value of the mean distance by the normal approximation.
    """
    from scipy.stats import norm  # slow to import

    spread = float(anywhere.std())
    if not spread:
        return float(np.median(distances)), 1.0  # there is one position only
    z = (float(distances.mean()) - float(anywhere.mean())) * math.sqrt(len(distances)) / spread
    return float(np.median(distances)), float(norm.cdf(z))
