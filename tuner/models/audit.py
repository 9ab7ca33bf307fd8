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
from tuner.data.sequence import cpg, gc_content
from tuner.models.baselines import fit_baseline
from tuner.models.intervals import Interval, auroc_interval
from tuner.models.pwm import best_sites, threshold
from tuner.motifs.meme import Motif

HIT_P: Final = 1e-4
"""Probability that a random window scores as high as a hit, as FIMO's default."""
MOST: Final = 5_000
"""Training sequences that the 6-mer regression is fitted on; more of them change its AUROC little."""
FEWEST_HITS: Final = 20
"""Below this many positives with a hit, nothing is said about where the hits lie."""


class Feature(NamedTuple):
    """How well one number separates the classes of a task.

    Attributes
    ----------
    name : str
        ``gc``, ``cpg`` (observed/expected) or ``6-mer`` (a logistic regression fitted on the training sequences).
    task : str
    auroc : Interval
        Of GC and CpG over training and validation, above 0.5 where positives have more; of 6-mers on validation.
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


class Audit(NamedTuple):
    """What separates the classes of a data set."""

    features: tuple[Feature, ...]
    motifs: tuple[MotifHits, ...]


def audit(dataset: Dataset, targets: Mapping[str, Sequence[Motif]] | None = None) -> Audit:
    """Measure what separates positives from negatives in training and validation sequences.

    Parameters
    ----------
    dataset : Dataset
        Its test split is not touched.
    targets : mapping of str to sequence of Motif, optional
        Motifs of the families that a study names as its target.

    Raises
    ------
    DataError, MetricError
        A task of the training or validation split has one class.
    """
    seen = _together(dataset.train, dataset.valid)
    contents = {"gc": gc_content(seen.codes), "cpg": cpg(seen.codes)}
    features = []
    for column, task in enumerate(dataset.tasks):
        labels = seen.labels[:, column]
        features += [Feature(name, task, auroc_interval(labels, values)) for name, values in contents.items()]
    if dataset.length >= 6:
        scores = fit_baseline("6-mer", _smaller(dataset)).score(dataset.valid.codes)
        for column, task in enumerate(dataset.tasks):
            interval = auroc_interval(dataset.valid.labels[:, column], scores[:, column])
            features.append(Feature("6-mer", task, interval))
    found = [
        hits
        for target, motifs in (targets or {}).items()
        for motif in motifs
        if motif.ppm.shape[1] <= dataset.length
        for hits in _hits(target, motif, seen, dataset.tasks)
    ]
    return Audit(tuple(features), tuple(found))


def _smaller(dataset: Dataset) -> Dataset:
    """The data with so few training sequences that the regression takes seconds."""
    train = dataset.train
    if len(train) <= MOST:
        return dataset
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:MOST])
    return replace(dataset, splits={"train": train.take(rows), "valid": dataset.valid}, sealed=dataset.fingerprint)


def _together(first: Split, second: Split) -> Split:
    return Split(np.concatenate([first.codes, second.codes]), np.concatenate([first.labels, second.labels]))


def _hits(target: str, motif: Motif, seen: Split, tasks: Sequence[str]) -> list[MotifHits]:
    sites = best_sites(seen.codes, motif.ppm)
    hit = sites.scores >= threshold(motif.ppm, HIT_P)
    length, width = seen.codes.shape[1], motif.ppm.shape[1]
    distances = np.abs(sites.centres - (length - 1) / 2)
    anywhere = np.abs(np.arange(length - width + 1) + (width - 1) / 2 - (length - 1) / 2)
    rows = []
    for column, task in enumerate(tasks):
        labels = seen.labels[:, column]
        bound = labels == 1
        near = distances[bound & hit]
        distance, p_value = (None, None) if len(near) < FEWEST_HITS else centrality(near, anywhere)
        rows.append(
            MotifHits(
                target, motif.id, motif.name, task, float(hit[bound].mean()), float(hit[~bound].mean()),
                auroc_interval(labels, sites.scores), len(near), distance, float(np.median(anywhere)), p_value,
            )
        )  # fmt: skip
    return rows


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
