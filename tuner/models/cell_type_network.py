"""The network of SigTFB's second stage: sequence and cell type in, binding out (Awdeh et al. 2024, BMC Genomics)."""

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
    """Size and training of stage 2; the published search covers wide ranges and states no single values.

    Parameters
    ----------
    cell_units, units : int
        Hidden units of the branch that reads the cell type, and of the layer after the concatenation.
    dropout : float
        Rate after both hidden layers.
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


class PooledFeatures(nn.Module):
    """A copy of a network up to and with its last pool.

    Parameters
    ----------
    stage1 : Network
        Left as it is.
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
    features : PooledFeatures
        Of stage 1.
    """

    def __init__(self, stage1: Network, n_cell_types: int, settings: CellTypeSettings, *, seed: int) -> None:
        super().__init__()
        if n_cell_types < 2:
            raise ModelError(f"n_cell_types is {n_cell_types}; with fewer than two there is nothing to tell apart.")
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


def _two_layers(inputs: int, units: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(dropout), nn.Linear(units, outputs)
    )
