"""Stage 2 of SigTFB: does knowing the cell type help to predict binding? (Awdeh et al. 2024, BMC Genomics).

Stage 1 is an ordinary multi-task network, one task a cell type (architecture ``sigtfb``). Stage 2 takes its pooled
convolution features and the cell type as one-hot input, or zeros for "not told", and predicts binding in that
cell type. Labels are (n, n_cell_types), cell types in the order of the tasks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from tuner.data import sequence
from tuner.data.dataset import Split
from tuner.data.sequence import Codes
from tuner.errors import DataError, ModelError, TrainingDiverged, UsageError, unknown
from tuner.models.batches import epoch_seed
from tuner.models.initializers import INITIALIZERS
from tuner.models.intervals import Interval, paired_auroc_difference
from tuner.models.metrics import per_task
from tuner.models.network import Network
from tuner.models.prediction import exact_kernels, resolve_device

_CHUNK = 512  # sequences a forward pass without gradients

Optimizer = Callable[[Iterable[nn.Parameter], "CellTypeSettings"], torch.optim.Optimizer]
OPTIMIZERS: Mapping[str, Optimizer] = MappingProxyType(
    {
        "adam": lambda p, s: torch.optim.Adam(p, lr=s.learning_rate, weight_decay=s.weight_decay),
        "nesterov": lambda p, s: torch.optim.SGD(
            p, lr=s.learning_rate, weight_decay=s.weight_decay, momentum=s.momentum, nesterov=True
        ),
    }
)


@dataclass(frozen=True)
class CellTypeSettings:
    """Size and training of stage 2; the published search covers wide ranges and states no single values.

    Parameters
    ----------
    cell_units, units : int
        Hidden units of the branch that reads the cell type, and of the layer behind the concatenation.
    dropout : float
        Rate behind both hidden layers.
    sigma : float
        Standard deviation of the normal initial weights; biases are 0.
    frozen : bool
        Leave the convolution of stage 1 as it is; its features are then computed once.
    optimizer : str
        ``"adam"``, or ``"nesterov"`` as published.
    learning_rate, weight_decay, momentum : float
        Of the optimizer; `momentum` of ``"nesterov"`` only.
    epochs : int
        All of them are trained, and the last weights kept.
    batch_size : int
        Sequences a step, half of them positives; even.

    Raises
    ------
    UsageError
        If a value is out of its range.
    """

    cell_units: int = 16
    units: int = 64
    dropout: float = 0.001
    sigma: float = 0.1
    frozen: bool = True
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    momentum: float = 0.1
    epochs: int = 20
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(unknown("optimizer", self.optimizer, OPTIMIZERS))
        if self.batch_size < 4 or self.batch_size % 2:
            raise UsageError(f"batch_size = {self.batch_size}; expected an even number, 4 or more.")
        for name in ("cell_units", "units", "epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}; expected 1 or more.")
        for name in ("sigma", "learning_rate", "momentum"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} = {getattr(self, name)}; expected a number above 0.")
        if not (0 <= self.dropout < 1 and 0 <= self.weight_decay < math.inf):
            raise UsageError(f"dropout = {self.dropout}, weight_decay = {self.weight_decay}; expected 0 or more.")


class CellTypeNetwork(nn.Module):
    """Binding in a cell type, from a sequence and the cell type.

    cell type -> dense -> batch norm -> ReLU -> dropout -> one unit; that unit beside the pooled features of stage 1
    -> dense -> batch norm -> ReLU -> dropout -> two units, whose log-softmax is the prediction. Batch norm
    is torch's own, as published.

    Parameters
    ----------
    stage1 : Network
        A trained network; it is copied, and left as it is.
    n_cell_types : int
        Width of the one-hot input.
    settings : CellTypeSettings
        Sizes, rates and initial weights.
    seed : int
        Of the initial weights.

    Attributes
    ----------
    features : nn.Module
        (n, 4, length) one-hot -> (n, n_features): stage 1 up to and with its last pool.
    """

    def __init__(self, stage1: Network, n_cell_types: int, settings: CellTypeSettings, *, seed: int) -> None:
        super().__init__()
        if n_cell_types < 2:
            raise ModelError(f"n_cell_types is {n_cell_types}; with fewer than two there is nothing to tell apart.")
        self.n_cell_types = n_cell_types
        self.frozen = settings.frozen
        self.features: nn.Module = _pooled(stage1)
        with torch.no_grad():
            n_features = self.features(torch.zeros(1, 4, stage1.length)).shape[1]
        with torch.random.fork_rng(devices=[]):
            self.cell_branch = _two_layers(n_cell_types, settings.cell_units, 1, settings.dropout)
            self.joint = _two_layers(n_features + 1, settings.units, 2, settings.dropout)
        generator = torch.Generator().manual_seed(seed)
        for module in (*self.cell_branch, *self.joint):
            if isinstance(module, nn.Linear):
                INITIALIZERS["normal"](module.weight, generator, settings.sigma)
                nn.init.zeros_(module.bias)
        self.features.requires_grad_(not settings.frozen)

    def train(self, mode: bool = True) -> CellTypeNetwork:
        """Set the training mode; frozen features stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self

    def from_features(self, features: Tensor, cells: Tensor) -> Tensor:
        """Log-odds of binding, shape=(n,).

        Parameters
        ----------
        features : torch.Tensor, shape=(n, n_features)
            Of `self.features`.
        cells : torch.Tensor, shape=(n, n_cell_types), float32
            One-hot; a row of zeros does not tell the cell type.
        """
        scores = self.joint(torch.cat([features, self.cell_branch(cells)], dim=1))
        # log-softmax over two units is a sigmoid of their difference, and its NLL the binary cross-entropy.
        out: Tensor = scores[:, 1] - scores[:, 0]
        return out

    def forward(self, x: Tensor, cells: Tensor) -> Tensor:
        """Log-odds of binding, shape=(n,), of one-hot sequences (n, 4, length); `cells` as in `from_features`."""
        return self.from_features(self.features(x), cells)


def _pooled(stage1: Network) -> nn.Module:
    """Copy a network and cut it behind its last pool: what it returns are the pooled features."""
    network = copy.deepcopy(stage1).cpu().eval()
    flatten = next(i for i, module in enumerate(network.body) if isinstance(module, nn.Flatten))
    network.add_module("body", network.body[: flatten + 1])
    network.add_module("output", nn.Identity())
    return network


def _two_layers(inputs: int, units: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, outputs)
    )


class CellTypeDraw(NamedTuple):
    """What one epoch shows, in order.

    Attributes
    ----------
    rows : numpy.ndarray, shape=(n,), int64
        Sequences; an even place holds a positive, the next a negative of the same cell type.
    cells : numpy.ndarray, shape=(n,), int64
        Cell type whose label counts.
    told : numpy.ndarray, shape=(n,), bool
        Whether the network is told it: half of each batch.
    """

    rows: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int64]
    told: npt.NDArray[np.bool_]


def draw_round_robin(labels: npt.NDArray[np.uint8], n: int, batch_size: int, seed: int) -> CellTypeDraw:
    """Draw positives and negatives in equal numbers, one cell type after the other, with replacement.

    Parameters
    ----------
    labels : numpy.ndarray, shape=(n_sequences, n_cell_types), 0 or 1
        Every column holds both.
    n : int
        Sequences to draw, even.
    batch_size : int
        In each batch half of the pairs are told their cell type (one less where they are odd).
    seed : int
        Of all draws.
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

    An epoch shows as many sequences as there are, drawn by `draw_round_robin`; every draw is a function of seed and
    epoch.

    Parameters
    ----------
    stage1 : Network
        Trained; left as it is.
    train : Split
        Labels (n, n_cell_types).
    settings : CellTypeSettings
    seed : int
        Non-negative; of initial weights, draws and dropout.
    device : str
        As `tuner.models.prediction.resolve_device` takes it.

    Returns
    -------
    CellTypeNetwork
        In evaluation mode, on `device`.
    tuple of float, nats
        Mean training loss of each epoch.

    Raises
    ------
    DataError
        If a cell type has one class, or there are fewer sequences than two.
    TrainingDiverged
        If a loss stops being finite; names the epoch.
    """
    labels = np.ascontiguousarray(train.labels)
    for cell, positives in enumerate(labels.sum(axis=0)):
        if positives in (0, len(labels)):
            raise DataError(f"cell type {cell}: all {len(labels)} labels are {int(positives > 0)}; it needs both.")
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
        Log-odds where the network is not told the cell type.
    """

    told: npt.NDArray[np.float32]
    untold: npt.NDArray[np.float32]


def predict_cell_types(network: CellTypeNetwork, codes: Codes, *, device: str = "cpu") -> CellTypeLogits:
    """Predict each sequence in each cell type, and without one.

    Parameters
    ----------
    network : CellTypeNetwork
        Moved to `device`; its training mode is as before when this returns.
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    device : str
        As `tuner.models.prediction.resolve_device` takes it.
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
    """What the cell type adds.

    Attributes
    ----------
    told, untold : float
        AUROC with and without it, mean over the cell types that have both classes.
    difference : Interval
        told - untold, with its interval over resampled sequences.
    per_cell_type : tuple of float or None
        told - untold of each cell type; None where it has one class.
    """

    told: float
    untold: float
    difference: Interval
    per_cell_type: tuple[float | None, ...]


def cell_type_gain(
    labels: npt.ArrayLike, logits: CellTypeLogits, *, draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> CellTypeGain:
    """Score a factor by AUROC(cell type told) - AUROC(not told).

    AUROCs are taken within each cell type and averaged: pooled over cell types they would also reward knowing which
    cell type has more peaks.

    Parameters
    ----------
    labels : array-like, shape=(n, n_cell_types), 0 or 1
        Sequences that trained neither stage.
    logits : CellTypeLogits
        Of the same sequences.
    draws, confidence, seed
        As in `tuner.models.intervals.paired_auroc_difference`.

    Raises
    ------
    MetricError
        If shapes differ or no cell type has both classes.
    """
    untold = np.broadcast_to(logits.untold[:, None], logits.told.shape)
    with_cell, without = per_task("auroc", labels, logits.told), per_task("auroc", labels, untold)
    difference = paired_auroc_difference(labels, logits.told, untold, draws=draws, confidence=confidence, seed=seed)
    each = tuple(
        None if a is None or b is None else a - b for a, b in zip(with_cell.values, without.values, strict=True)
    )
    return CellTypeGain(with_cell.macro, without.macro, difference, each)
