"""Optional compiled kernels for training on one CPU thread: first layer, norms, ReLU, exp, dropout, weight gradients.

`enable` builds `kernels.cpp` with the machine's C++ compiler, once, into a cache folder, and tries them. From then on a
network in training computes through them where they apply: float32 in channels-last memory on a CPU, with one thread.
They draw the same random bits as the layers in Python and differ from them by float32 rounding alone. Evaluation never
uses them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuner.models.activations import Exponential
from tuner.models.kernels import Library, call, find_compiler, load
from tuner.models.layers import KERAS_MOMENTUM, BatchNorm1d, Conv1d, Dropout, channels_last, random_bits

# What a norm's kernel computes as well, by the numbers of kernels.cpp.
_AFTER: dict[type[nn.Module], int] = {nn.ReLU: 1, Exponential: 2}


def enable(folder: Path) -> str:
    """Build the kernels if `folder` lacks them, try them, and use them in this process from now on.

    Parameters
    ----------
    folder : Path
        Cache of built kernels.

    Returns
    -------
    str
        Empty if the kernels are in use, else why not; training then goes on in Python.
    """
    if reason := load(folder):
        return f"compiled kernels are off: {reason}"
    if not _agrees():
        disable()
        return f"compiled kernels are off: as {find_compiler()} builds them they compute other values than torch"
    return ""


def _agrees() -> bool:
    """Train a small network for one step with and without the kernels and compare its output and gradients."""
    kernels, threads, found = Library.loaded, torch.get_num_threads(), []
    try:
        torch.set_num_threads(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first: list[nn.Module] = [
                Conv1d(4, 12, 7, pad=(3, 3), bias=False),
                BatchNorm1d(12),
                Exponential(),
                Dropout(0.2),
            ]
            branch: list[nn.Module] = [Conv1d(12, 12, 5, pad=(2, 2)), nn.ReLU(), BatchNorm1d(12), nn.ReLU()]
            weights = list(nn.ModuleList(first + branch).parameters())
            x = channels_last(F.one_hot(torch.randint(0, 4, (8, 40)), 4).float().transpose(1, 2))
            for library in (kernels, None):
                Library.loaded = library
                torch.manual_seed(1)
                h = run(first, x)
                y = add_relu(h - h.mean(), run(branch, h), branch[-1])
                found.append([y, *torch.autograd.grad(y.square().mean(), weights)])
    finally:
        torch.set_num_threads(threads)
        Library.loaded = kernels
    return all(bool((a - b).abs().max() <= 1e-3 * b.abs().max()) for a, b in zip(*found, strict=True))


def disable() -> None:
    """Compute in Python again."""
    Library.loaded = None


def enabled() -> bool:
    """Whether this process trains through the kernels where it can."""
    return Library.loaded is not None


def in_use(module: nn.Module) -> bool:
    """Whether a module's training goes through the kernels, as far as its inputs allow."""
    return (
        Library.loaded is not None
        and module.training
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def usable(x: Tensor) -> bool:
    """Whether kernels are loaded and take this (n, channels, length) tensor."""
    return (
        Library.loaded is not None
        and x.dtype is torch.float32
        and x.device.type == "cpu"
        and x.dim() == 3
        and not torch.is_autocast_enabled("cpu")
        and torch.get_num_threads() == 1
        and x.transpose(1, 2).is_contiguous()
    )


class _FirstConvolution(torch.autograd.Function):
    """Convolution of one-hot sequences by their codes: (n, length), 4 where no base is."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, weight: Tensor, bias: Tensor | None, left: int, positions: int) -> Tensor:
        (n, length), (outputs, _, taps) = codes.shape, weight.shape
        ctx.save_for_backward(codes, weight)
        ctx.rest = (positions, outputs, taps, left)
        y = torch.empty(n, positions, outputs)
        call("first_forward", codes, weight.contiguous(), bias, y, n, length, *ctx.rest)
        return y.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        codes, weight = ctx.saved_tensors
        g = channels_last(gradients[0])
        w = torch.zeros(weight.shape)
        call("first_gradient", codes, g, w, *codes.shape, *ctx.rest)
        return None, w, g.sum((0, 2)) if ctx.needs_input_grad[2] else None, None, None


class _Convolution(torch.autograd.Function):
    """conv2d of height 1 whose weight gradient is ours."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: Conv1d) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.layer = layer
        return layer.convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g, layer = channels_last(gradients[0]), ctx.layer
        (n, inputs, length), (_, outputs, positions) = x.shape, g.shape
        taps, stride, dilation, (left, right) = weight.shape[2], layer.stride[0], layer.dilation[0], layer.pad
        columns = -(-outputs // 8) * 8
        w = torch.zeros(taps, inputs, columns)
        call(
            "weight_gradient", x, g, w, n, length, inputs, positions, outputs, taps, stride, dilation, left
        )  # fmt: skip
        dx = None
        if ctx.needs_input_grad[0]:
            image, pad = (F.pad(x, (left, right)), 0) if left != right else (x, left)
            dx = torch.ops.aten.convolution_backward(
                g.unsqueeze(2), image.unsqueeze(2), weight.unsqueeze(2), None, [1, stride], [0, pad], [1, dilation],
                False, [0, 0], 1, [True, False, False],
            )[0].squeeze(2)  # fmt: skip
            if left != right:
                dx = dx[:, :, left : left + length]
        db = g.sum((0, 2)) if ctx.needs_input_grad[2] else None
        return dx, w[:, :, :outputs].permute(2, 1, 0).contiguous(), db, None


class _Drop(torch.autograd.Function):
    """Dropout that keeps the random bits instead of a float32 mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: Tensor, threshold: int, scale: float) -> Tensor:
        ctx.save_for_backward(bits)
        ctx.rest = (threshold, scale)
        y = torch.empty_like(x)
        call("dropout", x, bits, y, x.numel(), threshold, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g = channels_last(gradients[0])
        dx = torch.empty_like(g)
        call("dropout", g, ctx.saved_tensors[0], dx, g.numel(), *ctx.rest)
        return dx, None, None, None


class _Norm(torch.autograd.Function):
    """[ReLU], batch norm with the statistics of the batch, [ReLU or exp], [dropout]; keeps the input and the bits."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm1d, steps: tuple[int, int, int],
        factor: float, bits: Tensor | None, threshold: int, scale: float,
    ) -> Tensor:  # fmt: skip
        channels, rows = x.shape[1], x.numel() // x.shape[1]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        slope, offset, mean, inverse = found = torch.empty(4, channels)
        call(
            "norm_statistics", x, rows, channels, steps[0], weight, bias, norm.running_mean, norm.running_var,
            KERAS_MOMENTUM, norm.eps, slope, offset, mean, inverse,
        )  # fmt: skip
        y = torch.empty_like(x)
        ctx.rest = (*steps, factor, threshold, scale)
        call("norm_forward", x, bits, y, rows, channels, slope, offset, *ctx.rest)
        ctx.save_for_backward(x, found, bits)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, found, bits = ctx.saved_tensors
        g = channels_last(gradients[0])
        channels, rows = x.shape[1], x.numel() // x.shape[1]
        dx, (weight, bias) = torch.empty_like(x), torch.empty(2, channels)
        call("norm_backward", x, g, bits, dx, rows, channels, *found, weight, bias, *ctx.rest)
        return dx, weight, bias, None, None, None, None, None, None


class _AddReLU(torch.autograd.Function):
    """relu(a + b)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        y = torch.empty_like(a)
        call("add_relu", a, b, y, a.numel())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (y,), g = ctx.saved_tensors, channels_last(gradients[0])
        d = torch.empty_like(y)
        call("add_relu_backward", y, g, d, y.numel())
        return d, d


def add_relu(a: Tensor, b: Tensor, relu: nn.Module) -> Tensor:
    """relu(a + b) of (n, channels, length) tensors, in training by a kernel that keeps only its result.

    Parameters
    ----------
    a, b : torch.Tensor, shape=(n, channels, length)
        A residual block's input and branch.
    relu : torch.nn.Module
        What is called where no kernel is in use.
    """
    if relu.training and torch.is_grad_enabled() and usable(a) and usable(b):
        out: Tensor = _AddReLU.apply(a, b)  # type: ignore[no-untyped-call]
        return out
    out = relu(a + b)
    return out


def _convolve(layer: Conv1d, x: Tensor) -> Tensor:
    """Convolve, by looking up if x : (n, 4, length) is one-hot sequences whose gradient nobody wants."""
    n, inputs, length = x.shape
    if inputs == 4 and layer.stride[0] == layer.dilation[0] == 1 and not x.requires_grad:
        codes = torch.empty(n, length, dtype=torch.uint8)
        if call("encode", x, codes, n * length):
            left, right = layer.pad
            positions = left + length + right - layer.kernel_size[0] + 1
            out: Tensor = _FirstConvolution.apply(codes, layer.weight, layer.bias, left, positions)  # type: ignore[no-untyped-call]
            return out
    out = _Convolution.apply(x, layer.weight, layer.bias, layer)  # type: ignore[no-untyped-call]
    return out


def _bits(dropout: Dropout | None, x: Tensor) -> tuple[Tensor | None, int, float]:
    if dropout is None:
        return None, 0, 1.0
    return random_bits(x.numel()), dropout.threshold - 32768, dropout.scale


def _fused(modules: list[nn.Module], x: Tensor) -> Tensor:
    """Run layers in training mode, neighbours in one kernel where there is one for them."""
    i = 0
    while i < len(modules):
        if not usable(x):
            x = modules[i](x)
            i += 1
            continue
        end = i
        before = isinstance(modules[end], nn.ReLU) and end + 1 < len(modules)
        end += before
        norm = modules[end]
        if isinstance(norm, BatchNorm1d) and norm.training:
            end += 1
            after = _AFTER.get(type(modules[end]), 0) if end < len(modules) else 0
            factor = float(getattr(modules[end], "scale", 1.0)) if after else 1.0
            end += after > 0
            last = modules[end] if end < len(modules) else None
            drop = last if isinstance(last, Dropout) and last.threshold > 0 else None
            end += drop is not None
            steps = (int(before), after, int(drop is not None))
            x = _Norm.apply(x, norm.weight, norm.bias, norm, steps, factor, *_bits(drop, x))  # type: ignore[no-untyped-call]
            i = end
        elif isinstance(layer := modules[i], Conv1d):
            x = _convolve(layer, x)
            i += 1
        elif isinstance(modules[i], Dropout) and modules[i].training and modules[i].threshold:
            x = _Drop.apply(x, *_bits(modules[i], x))  # type: ignore[no-untyped-call, arg-type]
            i += 1
        else:
            x = modules[i](x)
            i += 1
    return x


def run(modules: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Run layers one after the other, in training through the kernels if they are in use.

    Forward hooks of layers that run in a kernel are not called.

    Parameters
    ----------
    modules : iterable of torch.nn.Module
        What to run.
    x : torch.Tensor, shape=(n, channels, length)
        Input of the first.
    """
    layers = list(modules)
    if in_use(layers[0]):
        return _fused(layers, x)
    if isinstance(modules, nn.Sequential):
        out: Tensor = modules(x)
        return out
    for layer in layers:
        x = layer(x)
    return x
