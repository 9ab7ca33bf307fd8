"""Measures how well a simple quantity, such as the share of N, separates the classes without any motif."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data.dataset import Dataset
from tuner.genome.sequence import N_CODE

LEAST: Final = 0.05
"""Smallest distance of an AUROC from .5 that deserves a warning."""
ERRORS: Final = 3.0
"""Smallest distance in standard errors; chance exceeds it in fewer than one of 370 measurements."""


class Separation(NamedTuple):
    """AUROC of a simple quantity.

    Attributes
    ----------
    auroc : float
        Probability that a positive has a larger value than a negative, with ties counted half; .5 if a class is empty.
    error : float
        Standard error if the classes do not differ and there are no ties (Mann & Whitney 1947). Ties would make it
        smaller, but a few unusual sequences in a small class should not count as a difference.
    """

    auroc: float
    error: float

    @property
    def best(self) -> float:
        """AUROC in the better direction."""
        return max(self.auroc, 1.0 - self.auroc)

    @property
    def differs(self) -> bool:
        """Whether the difference is large enough for a warning, and more than chance."""
        return abs(self.auroc - 0.5) > max(LEAST, ERRORS * self.error)


def separation(values: NDArray[Any], labels: NDArray[Any]) -> Separation:
    """Measure how well `values` separate the two classes of `labels`.

    Parameters
    ----------
    values : numpy.ndarray, shape=(n,)
    labels : numpy.ndarray, shape=(n,)
        0 or 1.

    Returns
    -------
    Separation
    """
    positive = np.asarray(labels) > 0
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return Separation(0.5, math.inf)
    level = np.unique(values, return_inverse=True)[1]
    ups = np.bincount(level[positive], minlength=level.max() + 1).astype(float)
    downs = np.bincount(level[~positive], minlength=level.max() + 1).astype(float)
    below = np.cumsum(downs) - downs
    auroc = float((ups * (below + downs / 2)).sum() / (n * m))
    return Separation(auroc, math.sqrt((n + m + 1) / (12 * n * m)))


def unknown_base_warnings(dataset: Dataset) -> tuple[str, ...]:
    """Warn if the share of N alone separates the classes of a task, in training and validation sequences.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    tuple of str
        One warning for each such task, with the AUROC and what to do.
    """
    splits = [dataset.train, dataset.valid]
    share = np.concatenate([(split.codes == N_CODE).mean(axis=1) for split in splits])
    if not share.any():
        return ()
    labels = np.concatenate([split.labels for split in splits])
    warnings = []
    for task, column in zip(dataset.tasks, labels.T, strict=True):
        found = separation(share, column)
        if found.differs:
            positives, negatives = (float(share[column == side].mean()) for side in (1, 0))
            warnings.append(
                f"THE CLASSES DIFFER IN N: the share of N alone reaches AUROC {found.best:.3f} on {task!r} "
                f"(N makes up {positives:.1%} of the bases of its positives and {negatives:.1%} of its negatives), so "
                f'a network can reach that without learning a motif. Crop all sequences (length = "shortest"), mask '
                f"both classes alike, or remove sequences with N."
            )
    return tuple(warnings)
