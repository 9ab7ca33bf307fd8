"""Classes of unequal size: the weight of positives in the loss, and batches in which all classes are equally frequent.

The classes of one task are its positives and its negatives. With several tasks a class is the positives of one task,
and one more the sequences that are positive in no task; a sequence can belong to several of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tuner.models.recipe import Recipe

Rows = npt.NDArray[np.int64]


def classes(labels: npt.ArrayLike) -> tuple[Rows, ...]:
    """Return the rows of each class that has any.

    Parameters
    ----------
    labels : array_like, shape=(n, n_tasks)
        1 for positives, 0 for negatives.
    """
    positive = np.asarray(labels) > 0
    members = [*positive.T, ~positive.any(axis=1)]
    return tuple(rows for rows in map(np.flatnonzero, members) if len(rows))


def balanced_rows(groups: tuple[Rows, ...], n: int, generator: np.random.Generator) -> Rows:
    """Draw n rows for an epoch, with each class in turn.

    Neighbouring rows belong to different classes, so each batch holds the same number of every class, up to one. Of
    a class with fewer rows than its share, each row is shown several times, equally often up to one; of a class with
    more rows, others are left out in each epoch.

    Parameters
    ----------
    groups : tuple of np.ndarray
        Rows of each class, as `classes` returns them.
    n : int
        Number of rows to draw.
    generator : numpy.random.Generator
        Source of the random order.

    Returns
    -------
    np.ndarray, shape=(n,), int64
        The rows in the order in which they are shown.
    """
    shown = np.empty(n, dtype=np.int64)
    for i, rows in enumerate(groups):
        share = len(range(i, n, len(groups)))
        rounds = [generator.permutation(rows) for _ in range(-(-share // len(rows)))]
        shown[i :: len(groups)] = np.concatenate(rounds)[:share] if rounds else rows[:0]
    return shown


def positive_weights(labels: npt.ArrayLike, recipe: Recipe, device: torch.device) -> Tensor | None:
    """Return the weight of the positives of each task in the loss; None if all are 1.

    Parameters
    ----------
    labels : array_like, shape=(n, n_tasks)
        Training labels, 1 for positives, 0 for negatives.
    recipe : Recipe
        With ``positive_weight = "balanced"`` the weight of a task is its number of negatives over its number of
        positives, both as the epochs show them, i.e. in balanced batches if the recipe has these. A task of one class
        has a weight of 1.
    device : torch.device
        Where the weights are kept.

    Returns
    -------
    torch.Tensor or None, shape=(n_tasks,), float32
        The weights.
    """
    positive = np.asarray(labels) > 0
    if recipe.positive_weight == "balanced":
        groups = classes(labels) if recipe.balanced_batches else (np.arange(len(positive)),)
        share = np.mean([positive[rows].mean(axis=0) for rows in groups], axis=0)
        both = (share > 0) & (share < 1)
        weights = np.where(both, (1 - share) / np.where(both, share, 1), 1.0)
    else:
        weights = np.full(positive.shape[1], float(recipe.positive_weight))
    unit = np.allclose(weights, 1.0, rtol=0, atol=1e-9)
    return None if unit else torch.from_numpy(weights).to(device, torch.float32)


def loss_of(logits: Tensor, targets: Tensor, weights: Tensor | None, *, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy of a batch; that of positives is multiplied by the weight of their task.

    Parameters
    ----------
    logits, targets : torch.Tensor, shape=(n, n_tasks), float32
        Logits and labels; a positive has a target above .5, also after label smoothing.
    weights : torch.Tensor or None, shape=(n_tasks,), float32
        Weights of the positives; None for 1.
    reduction : str
        ``"mean"`` over sequences and tasks, or ``"sum"``.
    """
    factors = None if weights is None else torch.where(targets > 0.5, weights, 1.0)
    return binary_cross_entropy_with_logits(logits, targets, weight=factors, reduction=reduction)
