"""The forward pass of a trained network with fewer passes over memory: what prediction runs.

A network is read once into steps that compute the same function in float32:

- Batch norm after a convolution becomes part of the weights, which are multiplied in float64.
- Activations and sums are computed in place, and after the pool that follows where they never fall: exp of a maximum
  is the maximum of exp. An activation that magnifies rounding (`singular`) gets the same input as in the network.
- In a residual block, batch norm stands between two ReLUs. relu(s relu(c) + t) is s c + t between two bounds of each
  channel, so s and t become part of the weights too.
- Both strands of a few sequences form one batch, so that a map and its successor stay in the processor's cache.

Layers without a step, and networks of other classes, run as they are.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.genome.sequence import Codes, one_hot
from tuner.models.activations import ACTIVATIONS, Exponential
from tuner.models.layers import AvgPool1d, BatchNorm1d, Conv1d, Dropout, MaxPool1d
from tuner.models.memory import keep_freed_memory
from tuner.models.network import MaxAverage, Network, Residual
from tuner.models.prediction import exact_kernels, flip_strand, predict

CACHED = 1 << 20
"""Elements of the largest map of a batch on a CPU, 4 MiB of float32: fewer take longer for the calls themselves."""
ON_GPU = 8192
"""Sequences of a batch, counting both strands, on a GPU."""
SLICED = 6
"""Largest pool, in positions, that is computed as maxima of slices; torch's kernel also writes places of maxima."""
SIZES = 4
"""Sizes of a batch for which a convolution's weights are kept in oneDNN's order."""

Step = Callable[[Tensor], Tensor]
"""Maps one (n, channels, 1, length) image in channels-last memory to the next; it may overwrite its argument."""


class Forward(NamedTuple):
    """The steps of a network.

    Attributes
    ----------
    steps : tuple of callable
        From one-hot sequences, shape=(n, 4, 1, length), to logits, shape=(n, n_tasks).
    largest : int
        Elements per sequence of the largest map.
    """

    steps: tuple[Step, ...]
    largest: int

    def __call__(self, x: Tensor) -> Tensor:
        """Logits, shape=(n, n_tasks), of one-hot sequences, shape=(n, 4, length), in inference mode."""
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        for step in self.steps:
            x = step(x)
        return x


# ---------------------------------------------------------------------- steps


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel of a batch norm in evaluation, float64."""
    assert isinstance(norm, BatchNorm1d)
    assert norm.running_mean is not None  # our norms always have running statistics
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _convolve(layer: Conv1d, norm: nn.Module | None = None) -> Step:
    """A convolution, times the factor and plus the summand of a batch norm."""
    weight = layer.weight
    bias = None if layer.bias is None else layer.bias.double()
    if norm is not None:
        scale, shift = _affine(norm)
        weight = weight.double() * scale[:, None, None]
        bias = shift if bias is None else bias * scale + shift
    image = weight.float().unsqueeze(2).contiguous(memory_format=torch.channels_last)
    added = None if bias is None else bias.float()
    left, right = layer.pad
    stride, dilation = (1, layer.stride[0]), (1, layer.dilation[0])

    if _packs(image):
        return _packed(layer, image, added)

    def step(x: Tensor) -> Tensor:
        if left != right:
            return F.conv2d(F.pad(x, (left, right)), image, added, stride, 0, dilation)
        return F.conv2d(x, image, added, stride, (0, left), dilation)

    return step


def _packs(weight: Tensor) -> bool:
    """Whether oneDNN can take weights that are in its own order already, which saves ordering them for every batch."""
    return (
        weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, n) for n in ("_reorder_convolution_weight", "_convolution_pointwise"))
    )


def _packed(layer: Conv1d, image: Tensor, bias: Tensor | None) -> Step:
    """A convolution whose weights are ordered once for each of the first few sizes of a batch.

    The order depends on the size: with the order for another one, oneDNN would order them again every time.
    """
    left, right = layer.pad
    pad = [0, left if left == right else 0]
    stride, dilation = [1, layer.stride[0]], [1, layer.dilation[0]]
    ordered: dict[int, Tensor] = {}

    def step(x: Tensor) -> Tensor:
        if left != right:
            x = F.pad(x, (left, right))
        weight = ordered.get(len(x))
        if weight is None:
            if len(ordered) == SIZES:
                return F.conv2d(x, image, bias, stride, pad, dilation)
            weight = torch.ops.mkldnn._reorder_convolution_weight(image, pad, stride, dilation, 1, list(x.shape))
            ordered[len(x)] = weight
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, pad, stride, dilation, 1, "none", [], ""
        )  # fmt: skip
        return out

    return step


def _pool(layer: MaxPool1d) -> Step:
    kernel, ceil_mode = layer.window[1], layer.ceil_mode

    def step(x: Tensor) -> Tensor:
        length = x.shape[3]
        rest = length % kernel
        if kernel > SLICED or x.device.type != "cpu" or (rest and ceil_mode):
            return F.max_pool2d(x, layer.window, layer.window, ceil_mode=ceil_mode)
        kept = x.permute(0, 2, 3, 1)[:, :, : length - rest]
        rows = kept.unfold(2, kernel, kernel).movedim(-1, 3)  # (n, 1, windows, kernel, channels)
        out = torch.maximum(rows[:, :, :, 0], rows[:, :, :, 1])
        for i in range(2, kernel):
            torch.maximum(out, rows[:, :, :, i], out=out)
        return out.permute(0, 3, 1, 2)

    return step


def _activation(layer: nn.Module) -> Step:
    if type(layer) is nn.ReLU:
        return torch.relu_
    if type(layer) is Exponential:
        scale = layer.scale
        return torch.exp_ if scale == 1.0 else lambda x: x.mul_(scale).exp_()
    return layer


def _bounds(norm: nn.Module, lower: float) -> Step:
    """Clamp s c + t where the network has max(s relu(c) + t, lower), for the factor s and summand t of a norm."""
    scale, shift = _affine(norm)
    bound = shift.clamp(min=lower)
    low = torch.where(scale >= 0, bound, torch.full_like(bound, lower)).float()[:, None, None]
    high = torch.where(scale >= 0, torch.full_like(bound, torch.inf), bound).float()[:, None, None]
    if bool((scale >= 0).all()):
        return lambda x: torch.maximum(x, low, out=x)
    return lambda x: torch.clamp(x, low, high, out=x)


def _residual(layer: Residual) -> Step:
    modules = list(layer.branch)
    steps: list[Step] = []
    convolutions = {i: m for i, m in enumerate(modules) if isinstance(m, Conv1d)}
    for i, convolution in convolutions.items():
        norm = modules[i + 2] if i + 2 < len(modules) and isinstance(modules[i + 2], BatchNorm1d) else None
        last = i == max(convolutions)
        steps.append(_convolve(convolution, norm))
        steps.append(torch.relu_ if norm is None else _bounds(norm, -torch.inf if last else 0.0))

    def step(x: Tensor) -> Tensor:
        y = x
        for one in steps:
            y = one(y)
        return y.add_(x)  # its ReLU is a step of its own

    return step


def _average(layer: AvgPool1d) -> Step:
    return lambda x: F.avg_pool2d(x, layer.window, layer.window)


def _maximum_and_average(layer: MaxAverage) -> Step:
    highest, mean = _pool(layer.maximum), _average(layer.average)
    return lambda x: torch.cat([highest(x), mean(x)], dim=1)


# ---------------------------------------------------------------------- reading a network


def _flat(network: Network) -> list[nn.Module]:
    """Layers in their order, without dropout; the ReLU of a residual block follows its block."""
    norm = [] if network.first_batch_norm is None else [network.first_batch_norm]
    layers = [network.first_convolution, *norm, network.first_activation, *network.body, network.output]
    found: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, Dropout | nn.Dropout | nn.Identity):
            continue
        found.append(layer)
        if type(layer) is Residual:
            found.append(layer.activation)
    return found


def _swaps(layer: nn.Module, network: Network) -> bool:
    """Whether a pool may come before this activation."""
    if type(layer) is nn.ReLU:
        return True
    plan = network.plan
    return layer is network.first_activation and ACTIVATIONS[plan.activation].monotone and plan.activation_scale > 0


_KNOWN = (Conv1d, BatchNorm1d, nn.ReLU, Residual, MaxPool1d, AvgPool1d, MaxAverage, nn.Flatten, nn.Linear)


def _read(network: Network) -> tuple[Step, ...]:
    """Turn the layers into steps."""
    layers = _flat(network)
    singular = ACTIVATIONS[network.plan.activation].singular
    steps: list[Step] = []
    flat = False
    i = 0
    while i < len(layers):
        layer, following = layers[i], layers[i + 1] if i + 1 < len(layers) else None
        activates = layer is network.first_activation or type(layer) is nn.ReLU
        i += 1
        if isinstance(layer, Conv1d):
            folds = isinstance(following, BatchNorm1d) and not (singular and layer is network.first_convolution)
            steps.append(_convolve(layer, following if folds else None))
            i += folds
        elif isinstance(layer, MaxPool1d):
            steps.append(_pool(layer))
        elif activates and not flat and isinstance(following, MaxPool1d) and _swaps(layer, network):
            steps += [_pool(following), _activation(layer)]
            i += 1
        elif activates:
            steps.append(_activation(layer))
        elif type(layer) is Residual:
            steps.append(_residual(layer))
        elif isinstance(layer, AvgPool1d):
            steps.append(_average(layer))
        elif isinstance(layer, MaxAverage):
            steps.append(_maximum_and_average(layer))
        elif isinstance(layer, nn.Flatten):
            flat = True
            steps.append(lambda x: x.flatten(1))
        elif isinstance(layer, BatchNorm1d) and not flat:
            steps.append(lambda x, norm=layer: norm(x.squeeze(2)).unsqueeze(2))  # type: ignore[misc]
        else:
            steps.append(layer)
    return tuple(steps)


def _is_known(network: nn.Module) -> bool:
    """Whether every layer is one whose step is known, has no hook, and is in float32."""
    if type(network) is not Network:
        return False
    modules = [m for m in network.modules() if m is not network]
    if any(m._forward_hooks or m._forward_pre_hooks for m in [network, *modules]):
        return False
    kinds = (*_KNOWN, Dropout, nn.Dropout, nn.Identity, nn.Sequential, type(network.first_activation))
    return all(type(m) in kinds for m in modules) and all(p.dtype == torch.float32 for p in network.parameters())


_read_before: weakref.WeakKeyDictionary[nn.Module, tuple[Any, Forward]] = weakref.WeakKeyDictionary()


def forward_of(network: nn.Module, place: torch.device) -> Forward | None:
    """Steps of a network on a device; they are kept until a weight changes.

    Parameters
    ----------
    network : torch.nn.Module
        It stays where it is and as it is; the steps use a copy of its weights.
    place : torch.device
        Where the steps run.

    Returns
    -------
    Forward or None
        None if a layer is not known.
    """
    if not _is_known(network):
        return None
    assert isinstance(network, Network)
    tensors = [*network.parameters(), *network.buffers()]
    state = None
    if not any(t.is_inference() for t in tensors):  # such tensors do not count their changes
        state = (place, *((id(t), t.data_ptr(), t._version) for t in tensors))
        known = _read_before.get(network)
        if known is not None and known[0] == state:
            return known[1]
    with torch.inference_mode(), exact_kernels(place):
        steps = _read(copy.deepcopy(network).to(place).eval())
        x = torch.zeros(1, 4, 1, network.length, device=place)
        largest = x.numel()
        for step in steps:
            x = step(x)
            largest = max(largest, x.numel())
    found = Forward(steps, largest)
    if state is not None:
        _read_before[network] = (state, found)
    return found


def fast_logits(
    networks: Sequence[nn.Module], strands: Sequence[bool], codes: Codes, place: torch.device
) -> npt.NDArray[np.float32]:
    """Logits of several networks for the same sequences, as `tuner.models.prediction.predict` gives them.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        At least one; each maps (n, 4, length) to (n, n_tasks) logits.
    strands : sequence of bool
        For each network, whether its prediction is the mean logit of both strands.
    codes : numpy.ndarray, shape=(n, length), uint8
        A, C, G, T = 0..3, N = 4.
    place : torch.device
        Where they run.

    Returns
    -------
    numpy.ndarray, shape=(networks, n, n_tasks), float32
        Equal to those of `predict` but for the rounding of float32.
    """
    found: list[Tensor | None] = [None] * len(networks)
    ready = [(i, forward, strands[i]) for i, n in enumerate(networks) if (forward := forward_of(n, place)) is not None]
    if place.type == "cpu":
        keep_freed_memory()
    with torch.inference_mode(), exact_kernels(place):
        rows = torch.from_numpy(np.ascontiguousarray(codes)).to(place)
        for i, forward, both in ready:
            found[i] = _run(forward, rows, both)
    rest = {
        i: predict(network, codes, device=place, average_strands=strands[i])
        for i, network in enumerate(networks)
        if found[i] is None
    }
    return np.stack([rest[i] if part is None else part.cpu().numpy() for i, part in enumerate(found)])


def _run(forward: Forward, rows: Tensor, both: bool) -> Tensor:
    """Logits, shape=(n, n_tasks), of codes that are on the device of the steps."""
    most = ON_GPU if rows.device.type != "cpu" else max(CACHED // forward.largest, 8)
    size = max(most // 2, 1) if both else most
    parts = []
    for start in range(0, max(len(rows), 1), size):
        some = rows[start : start + size]
        if not both:
            parts.append(forward(one_hot(some)))
            continue
        logits = forward(one_hot(torch.cat([some, flip_strand(some)])))
        parts.append((logits[: len(some)] + logits[len(some) :]) / 2)
    return torch.cat(parts)
