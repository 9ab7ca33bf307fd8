"""`MeanLogit`: what several networks predict together, on one strand or on both, as one module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tuner.errors import ModelError
from tuner.models.strands import Siamese


class MeanLogit(nn.Module):
    """Mean logit of networks, each read on the given strand or on both strands.

    This is the function whose value is displayed: :func:`~tuner.models.prediction.predict` of each network, averaged
    over the networks. Whatever explains a prediction explains this module.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        Each maps (n, 4, length) to (n, n_tasks) logits; they are shared, not copied.
    average_strands : bool or sequence of bool
        Whether the prediction of a network is the mean logit of both strands; one value for all, or one for each.

    Raises
    ------
    ModelError
        If there is no network, there are more or fewer values than networks, or the networks take sequences of
        different lengths or have different numbers of outputs.
    """

    def __init__(self, networks: Sequence[nn.Module], average_strands: bool | Sequence[bool] = True) -> None:
        super().__init__()
        both = [average_strands] * len(networks) if isinstance(average_strands, bool) else list(average_strands)
        if not networks:
            raise ModelError("a mean logit needs at least one network; none was given.")
        if len(both) != len(networks):
            raise ModelError(f"average_strands has {len(both)} values for {len(networks)} networks; expected one each.")
        for name, words in (("length", "sequence lengths"), ("n_tasks", "numbers of outputs")):
            known = {getattr(network, name) for network in networks if hasattr(network, name)}
            if len(known) > 1:
                raise ModelError(f"the networks have different {words} ({sorted(known)}), so they have no mean logit.")
            if known:
                setattr(self, name, known.pop())
        self.average_strands = tuple(both)
        self.parts = nn.ModuleList(
            Siamese(network, "logit") if both else network
            for network, both in zip(networks, self.average_strands, strict=True)
        )

    @property
    def networks(self) -> list[nn.Module]:
        """The networks, in the given order."""
        both = zip(self.parts, self.average_strands, strict=True)
        return [cast(Siamese, part).network if averaged else part for part, averaged in both]

    @property
    def strandless(self) -> bool:
        """Whether a sequence and its reverse complement have the same logit."""
        return all(self.average_strands)

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits, shape=(n, n_tasks), of one-hot sequences, shape=(n, 4, length), rows A, C, G, T."""
        return torch.stack([part(x) for part in self.parts]).mean(dim=0)


def predicted(networks: Sequence[nn.Module], average_strands: bool | Sequence[bool]) -> nn.Module:
    """Return what networks predict together: a single network on the given strand is itself, all else is a mean.

    Parameters
    ----------
    networks, average_strands
        As for :class:`MeanLogit`.
    """
    mean = MeanLogit(networks, average_strands)
    return networks[0] if mean.average_strands == (False,) else mean
