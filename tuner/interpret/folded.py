"""DeepLIFT's rescale rule for networks of known layers, folded: computations common to several pairs are done once.

A sequence passes through the network once, together with all of its references, and one multiplier per pair is
propagated back. A general implementation with hooks propagates both halves of every pair in both directions, which
takes four passes instead of two and a fraction.

Feature maps are stored as deviations from the maps of an input without any base, which are kept in float64. Differences
between sequences therefore keep their precision in float32, even after an activation that is nearly saturated:
tanh(x - 6) is -1 + 1e-5 before training, and all deviations are of the order of 1e-6. The deviations of the input are
its one-hot encoding, so two copies of a k-mer get equal maps, and of equal maxima the first wins, as in other
implementations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tuner.genome.sequence import Codes
from tuner.interpret.target import FloatArray, Target
from tuner.models.activations import ACTIVATIONS
from tuner.models.layers import AvgPool1d, BatchNorm1d, Conv1d, Dropout, MaxPool1d, channels_last
from tuner.models.network import MaxAverage, Network, Residual

FLAT = 1e-6
"""Below this change of a unit's input, its multiplier is the derivative, as in shap and tangermeme."""


class Maps(NamedTuple):
    """Feature maps of one layer.

    Attributes
    ----------
    base : torch.Tensor, shape=(1, channels, length), float64
        Map of the input of zeros.
    rows : torch.Tensor, shape=(n * (1 + n_references), channels, length), float32
        Deviations from `base`, of each sequence followed by its references.
    group : int
        1 + n_references.
    known : dict of int to torch.Tensor
        Output of each layer for `base`, by the identity of the layer; it is the same for all sequences.
    """

    base: Tensor
    rows: Tensor
    group: int
    known: dict[int, Tensor]

    def through(self, layer: nn.Module, rows: Tensor) -> Maps:
        """Return the maps after a layer, with these deviations."""
        if id(layer) not in self.known:
            self.known[id(layer)] = layer(self.base)
        return self._replace(base=self.known[id(layer)], rows=rows)

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Split rows into sequences, shape=(n, 1, ...), and their references, shape=(n, n_references, ...)."""
        grouped = rows.view(-1, self.group, *rows.shape[1:])
        return grouped[:, :1], grouped[:, 1:]


Back = Callable[[Tensor], Tensor]
"""Multipliers of a layer's outputs, one row per pair -> multipliers of its inputs."""
Rule = Callable[[Any, Maps], tuple[Maps, Back]]


def _same(layer: nn.Module, x: Maps) -> tuple[Maps, Back]:
    return x, lambda m: m


def _convolution(layer: Any, x: Maps) -> tuple[Maps, Back]:
    weight = layer.weight.to(x.rows.dtype)
    left, right = layer.pad
    shape = x.rows.shape

    def back(m: Tensor) -> Tensor:
        # Only the shape of the input matters, so an expanded tensor without memory of its own suffices.
        total = 0 if left == right else left + right
        like = m.new_empty(1).expand(len(m), shape[1], 1, shape[2] + total)
        pad, stride, dilation = [0, 0 if total else left], [1, layer.stride[0]], [1, layer.dilation[0]]
        found: Tensor = torch.ops.aten.convolution_backward(
            channels_last(m).unsqueeze(2), like, weight.unsqueeze(2), None, stride, pad, dilation,
            False, [0, 0], 1, [True, False, False],
        )[0].squeeze(2)  # fmt: skip
        return found[:, :, left : left + shape[2]] if total else found

    return x.through(layer, layer.convolve(x.rows, weight, None)), back


def _norm(layer: Any, x: Maps) -> tuple[Maps, Back]:
    scale = layer.weight * (layer.running_var + layer.eps).rsqrt()
    scale = scale.to(x.rows.dtype).view(-1, *[1] * (x.rows.dim() - 2))
    return x.through(layer, x.rows * scale), lambda m: m * scale


def _dense(layer: Any, x: Maps) -> tuple[Maps, Back]:
    weight = layer.weight.to(x.rows.dtype)
    return x.through(layer, x.rows @ weight.T), lambda m: m @ weight


def _flatten(layer: nn.Module, x: Maps) -> tuple[Maps, Back]:
    shape = x.rows.shape[1:]
    return x.through(layer, layer(x.rows)), lambda m: m.reshape(-1, *shape)


def _average_pool(layer: Any, x: Maps) -> tuple[Maps, Back]:
    window, length = layer.window[1], x.rows.shape[2]

    def back(m: Tensor) -> Tensor:
        spread = (m / window).repeat_interleave(window, dim=2)
        return nn.functional.pad(spread, (0, length - spread.shape[2]))

    return x.through(layer, layer(x.rows)), back


def _maximum_pool(layer: Any, x: Maps) -> tuple[Maps, Back]:
    """Assign the change of a maximum to the winning position of the larger maximum, divided by its own change.

    If the winning position of the sequence does not change, it also gets the derivative of the pool.
    """
    base = x.through(layer, x.rows).base
    window, (_, channels, length) = layer.window[1], x.rows.shape
    # Deviations from the window's own maximum, so that the winner is found among small numbers. Without ceil_mode the
    # last positions belong to no window.
    peaks = base.repeat_interleave(window, dim=2)[:, :, :length]
    shift = x.base - nn.functional.pad(peaks, (0, length - peaks.shape[2]))
    inputs = x.rows + shift.to(x.rows.dtype)
    image, size = inputs.unsqueeze(2), layer.window
    found, place = nn.functional.max_pool2d(image, size, size, ceil_mode=layer.ceil_mode, return_indices=True)
    out = x.through(layer, found.squeeze(2))
    (own, other), (at, at_other) = out.pairs(out.rows), out.pairs(place.squeeze(2))
    before, before_other = out.pairs(inputs)
    ahead = own >= other
    winner = torch.where(ahead, at, at_other)  # (n, n_references, channels, positions)
    before = before.expand(-1, winner.shape[1], -1, -1)
    change = (before.gather(3, winner) - before_other.gather(3, winner)).flatten(0, 1)
    gain = (own - other).flatten(0, 1)
    slope = torch.where(change == 0, 1.0, gain / change)
    winner = winner.flatten(0, 1)
    at = at.expand(-1, before.shape[1], -1, -1)
    still = ((own == before_other.gather(3, at)) & ~ahead).flatten(0, 1)

    def back(m: Tensor) -> Tensor:
        inner = m.new_zeros(len(m), length, channels).transpose(1, 2)
        inner.scatter_(2, winner, m * slope)
        return inner.scatter_add_(2, at.flatten(0, 1), m * still)

    return out, back


def _rectify(layer: nn.Module, x: Maps) -> tuple[Maps, Back]:
    """Compute relu(b + d) - relu(b) without adding the large b to the small d where b is positive."""
    base = x.base.to(x.rows.dtype)
    rows = torch.maximum(x.rows + base.clamp(max=0), -base.clamp(min=0))
    out = x.through(layer, rows)
    (own, other), (after, after_other) = x.pairs(x.rows), x.pairs(rows)
    change = own - other
    slope = (after - after_other).div_(change)
    slope = torch.where(change.abs_() < FLAT, (own + base > 0).to(rows.dtype), slope).flatten(0, 1)
    return out, lambda m: m * slope


def _rescale(layer: nn.Module, x: Maps) -> tuple[Maps, Back]:
    """Apply any elementwise function, in float64: the difference quotients are of deviations that may be tiny."""
    inputs = x.base + x.rows
    outputs = layer(inputs)
    base = x.through(layer, x.rows).base
    (own, other), (after, after_other) = x.pairs(inputs), x.pairs(outputs)
    change = own - other
    slope = (after - after_other).div_(change)
    flat = change.abs_() < FLAT
    if flat.any():
        point = own.expand_as(flat)[flat].requires_grad_()
        with torch.enable_grad():
            slope[flat] = torch.autograd.grad(layer(point).sum(), point)[0]
    slope = slope.to(x.rows.dtype).flatten(0, 1)
    return x.through(layer, outputs.sub_(base).to(x.rows.dtype)), lambda m: m * slope


def _sequence(layer: Any, x: Maps) -> tuple[Maps, Back]:
    backs = []
    for child in layer:
        x, back = step(child, x)
        backs.append(back)

    def all_back(m: Tensor) -> Tensor:
        while backs:  # pop, so that the maps of each layer are freed once it has run
            m = backs.pop()(m)
        return m

    return x, all_back


def _residual(layer: Any, x: Maps) -> tuple[Maps, Back]:
    branch, branch_back = step(layer.branch, x)
    out, back = step(layer.activation, x._replace(base=x.base + branch.base, rows=x.rows + branch.rows))

    def all_back(m: Tensor) -> Tensor:
        m = back(m)
        return m + branch_back(m)

    return out, all_back


def _maximum_and_average(layer: Any, x: Maps) -> tuple[Maps, Back]:
    (first, first_back), (second, second_back) = step(layer.maximum, x), step(layer.average, x)
    channels = x.rows.shape[1]
    out = x._replace(base=torch.cat([first.base, second.base], 1), rows=torch.cat([first.rows, second.rows], 1))
    return out, lambda m: first_back(m[:, :channels]) + second_back(m[:, channels:])


def _network(layer: Any, x: Maps) -> tuple[Maps, Back]:
    parts = (layer.first_convolution, layer.first_batch_norm, layer.first_activation, layer.body, layer.output)
    return _sequence([part for part in parts if part is not None], x)


RULES: Mapping[type[nn.Module], Rule] = {
    Conv1d: _convolution,
    BatchNorm1d: _norm,
    nn.Linear: _dense,
    nn.Flatten: _flatten,
    AvgPool1d: _average_pool,
    MaxPool1d: _maximum_pool,
    nn.Sequential: _sequence,
    Residual: _residual,
    MaxAverage: _maximum_and_average,
    Network: _network,
    **{type(row.module()): _rescale for row in ACTIVATIONS.values() if not row.singular},
    **dict.fromkeys((Dropout, nn.Dropout, nn.Identity), _same),
    nn.ReLU: _rectify,
    nn.Sigmoid: _rescale,
}
"""Class of a layer -> its rule. The class must match exactly, as a subclass may compute something else."""


def step(layer: nn.Module, x: Maps) -> tuple[Maps, Back]:
    """Propagate maps through one layer in evaluation mode; also return how its multipliers propagate back."""
    return RULES[type(layer)](layer, x)


def missing_rule(network: nn.Module) -> str:
    """Name the first layer that has no rule or has a hook; empty if there is none."""
    for name, module in network.named_modules():
        if type(module) not in RULES or module._forward_hooks or module._forward_pre_hooks:
            return f"layer {name!r} ({type(module).__name__})" if name else f"the network ({type(module).__name__})"
    return ""


def folded_deep_shap(target: Target, codes: Codes, references: Codes, batch: int) -> FloatArray:
    """Compute hypothetical contributions of a network for which :func:`missing_rule` is empty.

    Parameters
    ----------
    target : Target
        In float64, unless the device does not support it.
    codes : numpy.ndarray, shape=(n, length), uint8
    references : numpy.ndarray, shape=(n, n_references, length), uint8
    batch : int
        Pairs of a sequence and a reference at a time, but at least all pairs of one sequence.

    Returns
    -------
    numpy.ndarray, shape=(n, 4, length), float32
        Mean over references.
    """
    n, n_references, length = references.shape
    group = 1 + n_references
    base = torch.zeros(1, 4, length, dtype=target.dtype, device=target.place)
    known: dict[int, Tensor] = {}
    found = []
    with torch.no_grad():
        for start in range(0, n, max(1, batch // n_references)):
            part = slice(start, start + max(1, batch // n_references))
            both = np.concatenate([codes[part, None], references[part]], axis=1)  # (n, group, length)
            x = target.encode(both.reshape(-1, length)).float()  # (n * group, 4, length)
            maps, back = step(target.network, Maps(base, x, group, known))
            logit = maps._replace(base=maps.base[:, [target.task]], rows=maps.rows[:, [target.task]])
            _, last = step(target.final, logit)
            ones = logit.rows.new_ones(len(both) * n_references, 1)
            m = torch.zeros(len(ones), maps.rows.shape[1], device=target.place)
            m[:, [target.task]] = last(ones)
            m = back(m)  # (n * n_references, 4, length)
            own = x.view(-1, group, 4, length)[:, 1:].flatten(0, 1)
            # Base b replaces the reference's base, so it gets the multiplier of b minus that of the reference's base.
            m = m - (m * own).sum(dim=1, keepdim=True)
            found.append(m.reshape(-1, n_references, 4, length).mean(dim=1))
    return torch.cat(found).cpu().numpy()
