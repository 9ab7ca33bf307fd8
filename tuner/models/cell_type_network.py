"""The network of SigTFB's second stage, which predicts binding from sequence and cell type (Awdeh et al. 2024)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from tuner.errors import ModelError, UsageError, unknown
from tuner.models.initializers import INITIALIZERS
from tuner.models.network import Network

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
    """Sizes and training of stage 2. The publication searched wide ranges and states no single values.

    Parameters
    ----------
    cell_units, units : int
        Hidden units of the branch that reads the cell type, and of the layer after the concatenation.
    dropout : float
        Dropout rate after both hidden layers.
    sigma : float
        Standard deviation of the normal initial weights; biases are 0.
    frozen : bool
        Whether the convolution of stage 1 is not trained further; its features are then computed only once.
    optimizer : str
        ``"adam"``, or ``"nesterov"`` as in the publication.
    learning_rate, weight_decay : float
        Learning rate and coupled weight decay of the optimizer.
    momentum : float
        Momentum of ``"nesterov"``; ``"adam"`` ignores it.
    epochs : int
        Number of epochs. All of them are trained, and the weights of the last one are kept.
    batch_size : int
        Sequences per step, half of them positives; even.

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


class PooledFeatures(nn.Module):
    """A copy of a network up to and including its last pool.

    Parameters
    ----------
    stage1 : Network
        The network; not changed.
    """

    def __init__(self, stage1: Network) -> None:
        super().__init__()
        self.stage1 = copy.deepcopy(stage1).cpu().eval()
        flatten = next(i for i, module in enumerate(self.stage1.body) if isinstance(module, nn.Flatten))
        self.stage1.body = nn.Sequential(*list(self.stage1.body)[: flatten + 1])
        del self.stage1.output

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 4, length) one-hot to (n, n_features) float32."""
        out: Tensor = self.stage1.body(self.stage1.head(x))
        return out


class CellTypeNetwork(nn.Module):
    """A network that predicts binding in a cell type from a sequence and the cell type.

    cell type -> dense -> batch norm -> ReLU -> dropout -> one unit; this unit is concatenated to the pooled features of
    stage 1 -> dense -> batch norm -> ReLU -> dropout -> two units, whose log-softmax is the prediction. Batch norm
    is torch's own, as in the publication.

    Parameters
    ----------
    stage1 : Network
        A trained network; it is copied, not changed.
    n_cell_types : int
        Number of cell types, the width of the one-hot input.
    settings : CellTypeSettings
        Sizes, dropout rates and initial weights.
    seed : int
        Seed of the initial weights.

    Attributes
    ----------
    features : PooledFeatures
        The layers of stage 1 up to its last pool.
    """

    def __init__(self, stage1: Network, n_cell_types: int, settings: CellTypeSettings, *, seed: int) -> None:
        super().__init__()
        if n_cell_types < 2:
            raise ModelError(f"n_cell_types is {n_cell_types}; use 2 or more cell types.")
        self.n_cell_types = n_cell_types
        self.frozen = settings.frozen
        self.features = PooledFeatures(stage1)
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
            Output of `self.features`.
        cells : torch.Tensor, shape=(n, n_cell_types), float32
            Cell types, one-hot; in a row of zeros the cell type is not told.
        """
        scores = self.joint(torch.cat([features, self.cell_branch(cells)], dim=1))
        # A softmax over two units is the sigmoid of their difference, and its NLL is the binary cross-entropy.
        out: Tensor = scores[:, 1] - scores[:, 0]
        return out

    def forward(self, x: Tensor, cells: Tensor) -> Tensor:
        """Log-odds of binding, shape=(n,), of one-hot sequences (n, 4, length); `cells` as in `from_features`."""
        return self.from_features(self.features(x), cells)


def _two_layers(inputs: int, units: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, outputs)
    )
