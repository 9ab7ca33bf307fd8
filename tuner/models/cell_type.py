"""Stage 2 of SigTFB: does knowing the cell type help to predict binding? (Awdeh et al. 2024, BMC Genomics).

Stage 1 is an ordinary multi-task network, one task a cell type (architecture ``sigtfb``). Stage 2 takes its pooled
convolution features and the cell type as one-hot input, or zeros for "not told", and predicts binding in that
cell type. Labels have shape (n, n_cell_types), with the cell types in the order of the tasks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from tuner.data.dataset import Split
from tuner.errors import DataError, TrainingDiverged
from tuner.genome import sequence
from tuner.genome.sequence import Codes
from tuner.models.batches import epoch_seed
from tuner.models.cell_type_network import OPTIMIZERS, CellTypeNetwork, CellTypeSettings
from tuner.models.intervals import Interval, paired_auroc_difference
from tuner.models.metrics import per_task
from tuner.models.network import Network
from tuner.models.prediction import exact_kernels, resolve_device

__all__ = [
    "CellTypeDraw",
    "CellTypeGain",
    "CellTypeLogits",
    "CellTypeNetwork",
    "CellTypeSettings",
    "cell_type_gain",
    "draw_round_robin",
    "fit_cell_types",
    "predict_cell_types",
]

_CHUNK = 512  # sequences per forward pass without gradients


class CellTypeDraw(NamedTuple):
    """The training examples of one epoch, in the order in which they are shown.

    Attributes
    ----------
    rows : numpy.ndarray, shape=(n,), int64
        Index of each sequence; at even positions a positive, followed by a negative of the same cell type.
    cells : numpy.ndarray, shape=(n,), int64
        Cell type whose label is the target.
    told : numpy.ndarray, shape=(n,), bool
        Whether the network is told the cell type, which is so for half of each batch.
    """

    rows: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int64]
    told: npt.NDArray[np.bool_]


def draw_round_robin(labels: npt.NDArray[np.uint8], n: int, batch_size: int, seed: int) -> CellTypeDraw:
    """Draw positives and negatives in equal numbers, one cell type after the other, with replacement.

    Parameters
    ----------
    labels : numpy.ndarray, shape=(n_sequences, n_cell_types), 0 or 1
        True classes; every column must contain both.
    n : int
        Number of sequences to draw; even.
    batch_size : int
        Sequences per batch. The network is told the cell type of half of the pairs in each batch (rounded down).
    seed : int
        Seed of all draws.
    """
    generator = np.random.default_rng(seed)
    pairs = n // 2
    cells = np.arange(pairs) % labels.shape[1]
    rows = np.empty((pairs, 2), dtype=np.int64)
    for cell in range(labels.shape[1]):
        here = cells == cell
        for side, value in enumerate((1, 0)):
            rows[here, side] = generator.choice(np.flatnonzero(labels[:, cell] == value), size=int(here.sum()))
    told = np.zeros(pairs, dtype=bool)
    for first in range(0, pairs, batch_size // 2):
        size = min(batch_size // 2, pairs - first)
        told[first + generator.permutation(size)[: size // 2]] = True
    return CellTypeDraw(rows.ravel(), np.repeat(cells, 2), np.repeat(told, 2))


def fit_cell_types(
    stage1: Network, train: Split, settings: CellTypeSettings, *, seed: int, device: str = "cpu"
) -> tuple[CellTypeNetwork, tuple[float, ...]]:
    """Train stage 2 on the sequences that stage 1 was trained on.

    An epoch shows as many sequences as the split has, drawn by `draw_round_robin`; every draw is a function of seed and
    epoch alone.

    Parameters
    ----------
    stage1 : Network
        Trained network of stage 1; not changed.
    train : Split
        Training sequences with labels of shape (n, n_cell_types).
    settings : CellTypeSettings
        Sizes of the network, and settings of the training.
    seed : int
        Non-negative seed of initial weights, draws and dropout.
    device : str
        Device as accepted by `tuner.models.prediction.resolve_device`.

    Returns
    -------
    CellTypeNetwork
        The trained network in evaluation mode, on `device`.
    tuple of float, nats
        Mean training loss of each epoch.

    Raises
    ------
    DataError
        If all labels of a cell type are alike, or there are fewer than two sequences.
    TrainingDiverged
        If a loss stops being finite; names the epoch.
    """
    labels = np.ascontiguousarray(train.labels)
    for cell, positives in enumerate(labels.sum(axis=0)):
        if positives in (0, len(labels)):
            raise DataError(
                f"cell type {cell}: all {len(labels)} labels are {int(positives > 0)}; training needs both classes."
            )
    place = resolve_device(device)
    network = CellTypeNetwork(stage1, labels.shape[1], settings, seed=seed).to(place)
    trainable = [p for p in network.parameters() if p.requires_grad]
    optimizer = OPTIMIZERS[settings.optimizer](trainable, settings)
    codes = torch.from_numpy(np.ascontiguousarray(train.codes)).to(place)
    targets = torch.from_numpy(labels).to(place, torch.float32)
    fixed = _features(network, codes) if settings.frozen else None
    losses = []
    for epoch in range(1, settings.epochs + 1):
        epoch_of = epoch_seed(seed, epoch)
        draw = draw_round_robin(labels, len(labels) - len(labels) % 2, settings.batch_size, epoch_of)
        rows, cells = (torch.from_numpy(part).to(place) for part in (draw.rows, draw.cells))
        told = one_hot(cells, network.n_cell_types) * torch.from_numpy(draw.told).to(place)[:, None]
        network.train()
        values = []
        with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []), exact_kernels(place):
            torch.manual_seed(epoch_of)
            for first in range(0, len(rows) - 2 + 1, settings.batch_size):
                part = slice(first, first + settings.batch_size)
                chosen = rows[part]
                features = fixed[chosen] if fixed is not None else network.features(sequence.one_hot(codes[chosen]))
                logits = network.from_features(features, told[part].float())
                loss = binary_cross_entropy_with_logits(logits, targets[chosen, cells[part]])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                values.append(loss.detach())
        losses.append(float(torch.stack(values).mean()))
        if not math.isfinite(losses[-1]):
            raise TrainingDiverged(f"stage 2 diverged in epoch {epoch}: the loss is {losses[-1]}. Lower learning_rate.")
    return network.eval(), tuple(losses)


def _features(network: CellTypeNetwork, codes: Tensor) -> Tensor:
    """Pooled features of all sequences, shape=(n, n_features), without gradients."""
    parts = []
    with torch.no_grad(), exact_kernels(codes.device):
        for first in range(0, len(codes), _CHUNK):
            parts.append(network.features(sequence.one_hot(codes[first : first + _CHUNK])))
    return torch.cat(parts)


class CellTypeLogits(NamedTuple):
    """Predictions with and without the cell type.

    Attributes
    ----------
    told : numpy.ndarray, shape=(n, n_cell_types), float32
        Log-odds of binding in each cell type.
    untold : numpy.ndarray, shape=(n,), float32
        Log-odds if the network is not told the cell type.
    """

    told: npt.NDArray[np.float32]
    untold: npt.NDArray[np.float32]


def predict_cell_types(network: CellTypeNetwork, codes: Codes, *, device: str = "cpu") -> CellTypeLogits:
    """Predict each sequence in each cell type, and without one.

    Parameters
    ----------
    network : CellTypeNetwork
        Trained network; it is moved to `device`, and its training mode is restored before this returns.
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    device : str
        Device as accepted by `tuner.models.prediction.resolve_device`.
    """
    place = resolve_device(device)
    was_training = network.training
    network.to(place).eval()
    try:
        features = _features(network, torch.from_numpy(np.ascontiguousarray(codes)).to(place))
        vectors = torch.cat([torch.eye(network.n_cell_types), torch.zeros(1, network.n_cell_types)]).to(place)
        with torch.no_grad():
            logits = [network.from_features(features, vector.expand(len(features), -1)) for vector in vectors]
    finally:
        network.train(was_training)
    stacked = torch.stack(logits, dim=1).cpu().numpy()  # (n, n_cell_types + 1)
    return CellTypeLogits(stacked[:, :-1], stacked[:, -1])


class CellTypeGain(NamedTuple):
    """How much the AUROC gains from knowing the cell type.

    Attributes
    ----------
    told, untold : float
        AUROC with and without the cell type, averaged over the cell types that have both classes.
    difference : Interval
        told - untold, with an interval that covers the choice of sequences.
    per_cell_type : tuple of float or None
        told - untold of each cell type; None if all its labels are alike.
    """

    told: float
    untold: float
    difference: Interval
    per_cell_type: tuple[float | None, ...]


def cell_type_gain(labels: npt.ArrayLike, logits: CellTypeLogits, *, confidence: float = 0.95) -> CellTypeGain:
    """Score a factor by AUROC(cell type told) - AUROC(not told).

    AUROCs are computed within each cell type and averaged: a pooled AUROC would also reward knowing which cell type has
    more peaks.

    Parameters
    ----------
    labels : array-like, shape=(n, n_cell_types), 0 or 1
        True classes of sequences on which neither stage was trained.
    logits : CellTypeLogits
        Predictions for the same sequences.
    confidence : float
        Confidence level of the interval.

    Raises
    ------
    MetricError
        If shapes differ or no cell type has both classes.
    """
    untold = np.broadcast_to(logits.untold[:, None], logits.told.shape)
    with_cell, without = per_task("auroc", labels, logits.told), per_task("auroc", labels, untold)
    difference = paired_auroc_difference(labels, logits.told, untold, confidence=confidence)
    each = tuple(
        None if a is None or b is None else a - b for a, b in zip(with_cell.values, without.values, strict=True)
    )
    return CellTypeGain(with_cell.macro, without.macro, difference, each)
