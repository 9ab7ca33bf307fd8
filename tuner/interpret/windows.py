"""Computes outputs of single-base mutants; in every layer, only the positions that a mutation can reach are computed.

The feature map of a mutant equals the map of its sequence outside one window. A layer with `kernel` taps, `dilation`
apart, at every `stride` positions computes output o from the inputs o stride - left ... o stride - left + reach, where
reach = dilation (kernel - 1). A window of w inputs that starts at a therefore changes the outputs from
ceil((a + left - reach) / stride) to floor((a + w - 1 + left) / stride) and no others: at most (w - 1 + reach) // stride
+ 1 of them. The window always has that width and is shifted inwards where it would extend past an end; the unchanged
positions in it are recomputed with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tuner.genome.sequence import Codes
from tuner.interpret.target import Target
from tuner.models.activations import ACTIVATIONS
from tuner.models.layers import AvgPool1d, BatchNorm1d, Conv1d, Dropout, MaxPool1d, channels_last
from tuner.models.network import MaxAverage, Network, Residual


class Windows(NamedTuple):
    """Feature maps of many mutants of one sequence.

    Attributes
    ----------
    whole : torch.Tensor, shape=(1, channels, length)
        Map of the sequence itself.
    start : torch.Tensor, shape=(n,), int64
        First position of each mutant's window.
    values : torch.Tensor, shape=(n, channels, width)
        Values of the mutants in their windows; outside, their maps equal `whole`.
    """

    whole: Tensor
    start: Tensor
    values: Tensor

    def cut(self, start: Tensor, width: int, beyond: float = 0.0) -> Tensor:
        """Cut stretches out of the mutants' maps, shape=(n, channels, width), with `beyond` outside the sequence."""
        n, channels, own = self.values.shape
        length = self.whole.shape[2]
        place = start[:, None] + torch.arange(width, device=start.device)  # (n, width), in the map
        inside = place - self.start[:, None]  # in the window
        first = torch.arange(n, device=start.device)[:, None] * own + length + 1
        row = torch.where((place >= 0) & (place < length), place, length)
        row = torch.where((inside >= 0) & (inside < own), inside + first, row)
        edge = self.whole.new_full((1, channels), beyond)
        table = torch.cat([self.whole[0].T, edge, self.values.transpose(1, 2).reshape(-1, channels)])
        return table.index_select(0, row.flatten()).view(n, width, channels).transpose(1, 2)


State = Windows | Tensor
"""Windows before the flatten layer, and features of shape=(n, n_features) after it."""


def _everywhere(layer: nn.Module, x: State) -> State:
    """Apply a layer that treats each position, or each feature, separately."""
    if isinstance(x, Windows):
        return Windows(layer(x.whole), x.start, layer(x.values))
    out: Tensor = layer(x)
    return out


def _around(layer: nn.Module, x: Windows, kernel: int, stride: int, dilation: int = 1, left: int = 0) -> Windows:
    """Apply a layer whose outputs depend on several positions; see the docstring of the module."""
    reach = dilation * (kernel - 1)
    whole = layer(x.whole)
    length = whole.shape[2]
    width = min((x.values.shape[2] - 1 + reach) // stride + 1, length)
    first = -torch.div(reach - left - x.start, stride, rounding_mode="floor")
    start = first.clamp(0, length - width)
    pool = isinstance(layer, MaxPool1d)
    values = x.cut(start * stride - left, (width - 1) * stride + reach + 1, -torch.inf if pool else 0.0)
    if isinstance(layer, Conv1d):
        taps = layer.weight.unsqueeze(2)
        found = F.conv2d(values.unsqueeze(2), taps, layer.bias, (1, stride), 0, (1, dilation)).squeeze(2)
    else:
        found = layer(values)
    return Windows(whole, start, found)


def _convolution(layer: Any, x: State) -> State:
    assert isinstance(x, Windows)
    return _around(layer, x, layer.kernel_size[0], layer.stride[0], layer.dilation[0], layer.pad[0])


def _pool(layer: Any, x: State) -> State:
    assert isinstance(x, Windows)
    return _around(layer, x, layer.window[1], layer.window[1])


def _sequence(layer: Any, x: State) -> State:
    for child in layer:
        x = step(child, x)
    return x


def _residual(layer: Any, x: State) -> State:
    branch = step(layer.branch, x)
    assert isinstance(x, Windows)
    assert isinstance(branch, Windows)
    values = x.cut(branch.start, branch.values.shape[2]) + branch.values
    return step(layer.activation, Windows(x.whole + branch.whole, branch.start, values))


def _maximum_and_average(layer: Any, x: State) -> State:
    parts = [step(layer.maximum, x), step(layer.average, x)]  # one position each
    first, second = (part for part in parts if isinstance(part, Windows))
    whole, values = torch.cat([first.whole, second.whole], 1), torch.cat([first.values, second.values], 1)
    return Windows(whole, first.start, values)


def _flatten(layer: nn.Module, x: State) -> State:
    assert isinstance(x, Windows)
    out: Tensor = layer(x.cut(torch.zeros_like(x.start), x.whole.shape[2]))
    return out


def _network(layer: Any, x: State) -> State:
    for part in (layer.first_convolution, layer.first_batch_norm, layer.first_activation, layer.body, layer.output):
        x = x if part is None else step(part, x)
    return x


RULES: Mapping[type[nn.Module], Callable[[Any, State], State]] = {
    Conv1d: _convolution,
    MaxPool1d: _pool,
    AvgPool1d: _pool,
    nn.Sequential: _sequence,
    Residual: _residual,
    MaxAverage: _maximum_and_average,
    nn.Flatten: _flatten,
    Network: _network,
    **{type(row.module()): _everywhere for row in ACTIVATIONS.values()},
    **dict.fromkeys((BatchNorm1d, Dropout, nn.Dropout, nn.Linear, nn.Identity, nn.ReLU, nn.Sigmoid), _everywhere),
}
"""Class of a layer -> its rule. The class must match exactly, as a subclass may compute something else."""


def step(layer: nn.Module, x: State) -> State:
    """Propagate windows through one layer in evaluation mode."""
    return RULES[type(layer)](layer, x)


def missing_rule(network: nn.Module) -> str:
    """Name the first layer that has no rule or has a hook; empty if there is none."""
    for name, module in network.named_modules():
        if type(module) not in RULES or module._forward_hooks or module._forward_pre_hooks:
            return f"layer {name!r} ({type(module).__name__})" if name else f"the network ({type(module).__name__})"
    return ""


def mutant_outputs(target: Target, codes: Codes, base: NDArray[np.integer[Any]], position: NDArray[np.intp]) -> Tensor:
    """Compute the outputs of single-base mutants of one sequence.

    Parameters
    ----------
    target : Target
        Target with a network for which :func:`missing_rule` is empty.
    codes : numpy.ndarray, shape=(length,), uint8
    base, position : numpy.ndarray, shape=(n,)
        New base of each mutant, and its position.

    Returns
    -------
    torch.Tensor, shape=(n,)
        In units of the output.
    """
    start = torch.from_numpy(position.astype(np.int64)).to(target.place)
    values = target.encode(base.astype(np.uint8)[:, None])  # (n, 4, 1)
    out = step(target.network, Windows(channels_last(target.encode(codes[None])), start, values))
    assert isinstance(out, Tensor)
    found: Tensor = target.final(out[:, target.task])
    return found
