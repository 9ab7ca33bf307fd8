"""Combining the predictions for a sequence and for its reverse complement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tuner.errors import ModelError, unknown


def mean_logit(forward: Tensor, reverse: Tensor) -> Tensor:
    """Mean of the log-odds of both strands."""
    return (forward + reverse) / 2


def logit_of_mean_probability(forward: Tensor, reverse: Tensor) -> Tensor:
    """Log-odds of the mean of both strands' sigmoids; accurate even if a sigmoid rounds to 0 or 1."""
    for_class = torch.logaddexp(logsigmoid(forward), logsigmoid(reverse))
    against = torch.logaddexp(logsigmoid(-forward), logsigmoid(-reverse))
    return for_class - against


CONJOIN: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"logit": mean_logit, "probability": logit_of_mean_probability}
)
"""What is averaged -> function that maps the logits of both strands to one logit."""


class Siamese(nn.Module):
    """A network applied to both strands: a sequence and its reverse complement have the same output.

    A sequence and its reverse complement are neighbours in one batch, so that every module of the network runs once.
    shap's DeepExplainer is wrong for a module that runs twice (tangermeme is not). Both libraries split a batch into a
    half of sequences and a half of references; in this order both strands of a sequence are in the same half.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, 4, length) to (n, n_tasks) logits; it is shared, not copied.
    conjoin : str
        ``"probability"``: the output is the mean of the sigmoids, in [0, 1], as in DeepDifE;
        ``"logit"``: the output is the mean logit.

    Raises
    ------
    ModelError
        If `conjoin` is neither of these.
    """

    def __init__(self, network: nn.Module, conjoin: str = "probability") -> None:
        super().__init__()
        if conjoin not in CONJOIN:
            raise ModelError(unknown("value of conjoin", conjoin, CONJOIN))
        self.network = network
        self.conjoin = conjoin
        self.final: nn.Module = nn.Sigmoid() if conjoin == "probability" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map one-hot sequences, shape=(n, 4, length), rows A, C, G, T, to the mean of both strands, (n, n_tasks)."""
        both = torch.stack([x, x.flip(1, 2)], dim=1).flatten(0, 1)  # (2 n, 4, length): 0, rc of 0, 1, rc of 1, ...
        scores: Tensor = self.final(self.network(both))  # (2 n, n_tasks)
        return scores.reshape(len(x), 2, -1).mean(dim=1)
