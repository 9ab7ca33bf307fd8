"""AUROC on the matched part, where composition cannot tell the classes apart, with intervals and paired leads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.data.composition import bin_weights, composition_bins
from tuner.models.groups import group_of
from tuner.models.intervals import Interval, logit_interval, normal_quantile, weighted_auroc

FEWEST = 20  # smallest number of sequences of a matched part that is scored


class MatchedPart(NamedTuple):
    """Scores on the matched part of a split.

    Attributes
    ----------
    sequences : int
        Size of the matched part; with several tasks, that of the smallest part that is scored.
    values : dict of str to float
        Scorer -> AUROC, the mean over tasks (and over models).
    without : dict of str to np.ndarray, shape=(groups,)
        Scorer -> AUROC without each group of sequences; the rest is matched again each time.
    """

    sequences: int
    values: dict[str, float]
    without: dict[str, npt.NDArray[np.float64]]

    def interval(self, name: str) -> Interval:
        """95 % interval of a scorer's AUROC, from the grouped jackknife; symmetric in the logit."""
        value, error = self.values[name], _error(self.without[name])
        if not 0 < value < 1 or not math.isfinite(error):
            return Interval(value, math.nan, math.nan, error)
        return Interval(value, *logit_interval(value, error, normal_quantile()), error)

    def lead(self, name: str, other: str) -> Interval:
        """Lead of one scorer over another on the same sequences, with its 95 % interval."""
        value, error = self.values[name] - self.values[other], _error(self.without[name] - self.without[other])
        half = normal_quantile() * error
        return Interval(value, value - half, value + half, error)


def matched_part(
    codes: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.generic],
    scorers: Mapping[str, npt.NDArray[np.generic]],
    *,
    by: Sequence[str] = ("gc", "cpg"),
    jackknife: bool = True,
) -> MatchedPart | None:
    """Score predictions on the part of a split in which each task's classes have the same composition.

    Each task is matched by its own labels: its negatives include the positives of other tasks.

    Parameters
    ----------
    codes : np.ndarray, shape=(n, length), uint8
        Sequences; A, C, G, T = 0..3, N = 4.
    labels : np.ndarray, shape=(n, n_tasks), 0 or 1
        True classes.
    scorers : mapping of str to np.ndarray, shape=(n, n_tasks) or (models, n, n_tasks)
        Name -> predictions; AUROCs of several models are averaged.
    by : sequence of str
        Properties in which the classes are matched, as in `tuner.data.composition.matching_weights`.
    jackknife : bool
        Whether to prepare intervals, for which everything is matched and scored again without each group.

    Returns
    -------
    MatchedPart or None
        None if no task has a matched part of 20 or more sequences.
    """
    cells = composition_bins(codes, by)  # computed once; the rest is repeated for every task and every group
    tasks = [t for t in range(labels.shape[1]) if bin_weights(cells, labels[:, t]).sum() >= FEWEST]
    whole = _scored(cells, labels, scorers, tasks, np.ones(len(codes), dtype=bool))
    if whole is None:
        return None
    values, sizes = whole
    without: dict[str, list[float]] = {name: [] for name in scorers}
    group = group_of(labels)
    for g in range(int(group.max(initial=0)) + 1) if jackknife else ():
        part = _scored(cells, labels, scorers, tasks, group != g)
        for name in scorers:
            without[name].append(math.nan if part is None else part[0][name])
    return MatchedPart(min(sizes), values, {name: np.array(rows) for name, rows in without.items()})


def _scored(
    cells: npt.NDArray[np.int64], labels: npt.NDArray[np.generic], scorers: Mapping[str, npt.NDArray[np.generic]],
    tasks: Sequence[int], rows: npt.NDArray[np.bool_],
) -> tuple[dict[str, float], list[int]] | None:  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in scorers}
    sizes = []
    for task in tasks:
        one = labels[rows, task]
        weights = bin_weights(cells[rows], one)
        for name, scores in scorers.items():
            value = weighted_auroc(one, scores[..., rows, task], weights)
            if value is None:
                break
            found[name].append(value)
        else:
            sizes.append(round(float(weights.sum())))
    if not sizes:
        return None
    return {name: float(np.mean(values)) for name, values in found.items()}, sizes


def _error(without: npt.NDArray[np.float64]) -> float:
    n = len(without)
    if n < 2 or not np.isfinite(without).all():
        return math.nan
    return math.sqrt((n - 1) / n * float(np.sum((without - without.mean()) ** 2)))
