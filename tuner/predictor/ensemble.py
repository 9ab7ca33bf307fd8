"""The networks of a predictor: one torch module of all of them, and their logits one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tuner.genome.sequence import Codes
from tuner.models.inference import fast_logits
from tuner.models.network import Network
from tuner.models.prediction import resolve_device


@dataclass(frozen=True, eq=False)
class Member:
    """One network of a predictor.

    Parameters
    ----------
    name : str
        Where it comes from, e.g. ``"confirmation 3"``.
    network : Network
        Trained.
    hyperparameters : dict of str to any
        What the network was built from.
    average_strands : bool
        Whether its prediction is the mean logit of both strands, as its recipe says.
    """

    name: str
    network: Network
    hyperparameters: dict[str, Any]
    average_strands: bool

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.network.parameters() if p.requires_grad)


class BothStrands(nn.Module):
    """Mean logit of a sequence and of its reverse complement, which stand side by side in one batch.

    Every module of the network then runs once, which DeepLIFT rules and exported graphs ask for.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, 4, length) to (n, n_tasks) logits; it is shared, not copied.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits, shape=(n, n_tasks), of one-hot sequences, shape=(n, 4, length), rows A, C, G, T."""
        both = torch.stack([x, x.flip(1, 2)], dim=1).flatten(0, 1)  # (2 n, 4, length): 0, rc of 0, 1, rc of 1, ...
        logits: Tensor = self.network(both)
        return logits.reshape(-1, 2, logits.shape[1]).mean(dim=1)


class Ensemble(nn.Module):
    """The mean logit of several networks.

    Parameters
    ----------
    members : sequence of Member
        The networks are shared, not copied.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.members = nn.ModuleList(BothStrands(m.network) if m.average_strands else m.network for m in members)
        self.eval()

    def each(self, x: Tensor) -> Tensor:
        """Logits of every network, shape=(members, n, n_tasks)."""
        return torch.stack([member(x) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits, shape=(n, n_tasks), of one-hot sequences, shape=(n, 4, length), rows A, C, G, T."""
        return self.each(x).mean(dim=0)


def member_logits(members: Sequence[Member], codes: Codes, device: str | torch.device) -> npt.NDArray[np.float32]:
    """Logits of every network as a study measures them.

    Parameters
    ----------
    members : sequence of Member
        At least one.
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    device : str or torch.device
        As for `tuner.models.prediction.predict`.

    Returns
    -------
    numpy.ndarray, shape=(members, n, n_tasks), float32
    """
    place = resolve_device(device) if isinstance(device, str) else device
    return fast_logits([m.network for m in members], [m.average_strands for m in members], codes, place)
