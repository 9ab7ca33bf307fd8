"""The compiled kernels as differentiable functions of (n, channels, length) tensors in channels-last memory.

Callers see to it that the library is loaded and the tensors are what the kernels take (`tuner.models.compiled`). Maps
are float32, or bfloat16 after the first activation if a network trains in bfloat16; weights and statistics are always
float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tuner.models.kernels import call
from tuner.models.layers import KERAS_MOMENTUM, BatchNorm1d, Conv1d, channels_last

# What a norm's kernel computes as well, by the numbers of norms.cpp.
NOTHING, RELU, EXPONENTIAL, ADD_RELU = range(4)

MOST_POOLED = 255  # positions of a window: places are bytes


class Steps(NamedTuple):
    """What a norm's kernel does beside the norm.

    Attributes
    ----------
    before : bool
        Whether its input goes through a ReLU first.
    after : int
        What follows it.
    drop : bool
        Whether dropout comes last.
    factor : float
        Of an exponential's input.
    threshold : int
        Random bits (int16) below it drop an element.
    scale : float
        What the others are multiplied by.
    """

    before: bool
    after: int
    drop: bool = False
    factor: float = 1.0
    threshold: int = 0
    scale: float = 1.0


def _types(x: Tensor, y: Tensor) -> int:
    """Number of a pair of types in maps.hpp."""
    return (x.dtype is torch.bfloat16) + (y.dtype is torch.bfloat16)


def _wide(x: Tensor) -> int:
    return int(x.dtype is torch.float32)


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
    """conv2d of height 1 in float32, whose weight gradient is ours."""

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
    """Dropout that keeps the random bits instead of a mask of floats."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: Tensor, threshold: int, scale: float, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(bits)
        ctx.rest = (threshold, scale)
        ctx.dtype = x.dtype
        y = torch.empty_like(x, dtype=dtype)
        call("dropout", x, bits, y, x.numel(), threshold, scale, _wide(x), _wide(y))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g = channels_last(gradients[0])
        dx = torch.empty_like(g, dtype=ctx.dtype)
        call("dropout", g, ctx.saved_tensors[0], dx, g.numel(), *ctx.rest, _wide(g), _wide(dx))
        return dx, None, None, None, None


class _Norm(torch.autograd.Function):
    """[ReLU], batch norm with the statistics of the batch, [ReLU or exp or + and ReLU], [dropout].

    Keeps input and output, and the bits only where the output does not say what was dropped.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm1d, steps: Steps, bits: Tensor | None,
        other: Tensor | None, dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        channels, rows = x.shape[1], x.numel() // x.shape[1]
        y = torch.empty_like(x, dtype=dtype)
        types = _types(x, y)
        slope, offset, mean, inverse = _statistics(x, weight, bias, norm, steps, types)
        rest = _numbers(types, steps)
        call("norm_forward", x, bits, other, y, rows, channels, slope, offset, *rest)
        ctx.rest = rest
        ctx.save_for_backward(x, y, slope, mean, inverse, bits if steps.after == NOTHING else None)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, slope, mean, inverse, bits = ctx.saved_tensors
        g = channels_last(gradients[0])
        channels, rows = x.shape[1], x.numel() // x.shape[1]
        dx, (weight, bias) = torch.empty_like(x), torch.empty(2, channels)
        other = torch.empty_like(y) if ctx.rest[2] == ADD_RELU else None
        call(
            "norm_backward", x, g, y, bits, dx, other, rows, channels, slope, mean, inverse, weight, bias, *ctx.rest
        )  # fmt: skip
        return dx, weight, bias, None, None, None, other, None


class _NormPool(torch.autograd.Function):
    """_Norm, and the largest value of each window: neither the map after the norm nor its gradient is ever written."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm1d, steps: Steps, bits: Tensor | None,
        other: Tensor | None, dtype: torch.dtype, window: int, windows: int,
    ) -> Tensor:  # fmt: skip
        n, channels, length = x.shape
        y = torch.empty(n, windows, channels, dtype=dtype)
        places = torch.empty(n, windows, channels, dtype=torch.uint8)
        types = _types(x, y)
        slope, offset, mean, inverse = _statistics(x, weight, bias, norm, steps, types)
        shape, rest = (n, length, channels, window, windows), _numbers(types, steps)
        call("norm_pool_forward", x, bits, other, y, places, *shape, slope, offset, *rest)
        ctx.shape, ctx.rest, ctx.sums = shape, rest, steps.after == ADD_RELU
        ctx.save_for_backward(x, y, places, slope, mean, inverse, bits if steps.after == NOTHING else None)
        return y.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, places, slope, mean, inverse, bits = ctx.saved_tensors
        g = channels_last(gradients[0])
        dx, (weight, bias) = torch.empty_like(x), torch.empty(2, x.shape[1])
        other = torch.zeros_like(x, dtype=y.dtype) if ctx.sums else None
        call(
            "norm_pool_backward", x, g, y, places, bits, dx, other, *ctx.shape, slope, mean, inverse, weight, bias,
            *ctx.rest,
        )  # fmt: skip
        return dx, weight, bias, None, None, None, other, None, None, None


def _statistics(
    x: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm1d, steps: Steps, types: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Move a norm's running statistics; slope, offset, mean and inverse deviation of each channel of the batch."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    channels = x.shape[1]
    slope, offset, mean, inverse = torch.empty(4, channels)
    call(
        "norm_statistics", x, x.numel() // channels, channels, types, int(steps.before), weight, bias,
        norm.running_mean, norm.running_var, KERAS_MOMENTUM, norm.eps, slope, offset, mean, inverse,
    )  # fmt: skip
    return slope, offset, mean, inverse


def _numbers(types: int, steps: Steps) -> tuple[int | float, ...]:
    """The last arguments of a norm's kernels."""
    return types, int(steps.before), steps.after, int(steps.drop), steps.factor, steps.threshold, steps.scale


class _Pool(torch.autograd.Function):
    """Largest value of each window of at most MOST_POOLED positions; keeps where it was, a byte each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: int, windows: int) -> Tensor:
        n, channels, length = x.shape
        y = torch.empty(n, windows, channels, dtype=x.dtype)
        places = torch.empty(n, windows, channels, dtype=torch.uint8)
        ctx.save_for_backward(places)
        ctx.rest = (n, length, channels, window, windows, _wide(x))
        call("pool", x, y, places, *ctx.rest)
        return y.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g = channels_last(gradients[0])
        n, length, channels, *_ = ctx.rest
        dx = torch.zeros(n, length, channels, dtype=g.dtype)
        call("pool_backward", g, ctx.saved_tensors[0], dx, *ctx.rest)
        return dx.transpose(1, 2), None, None


def random_bits(size: int) -> Tensor:
    """Draw 16 bits for each of `size` elements, shape=(size,), int16, by a generator that torch's global one seeds."""
    bits = torch.empty(size, dtype=torch.int16)
    call("random_bits", bits, size, int(torch.empty((), dtype=torch.int64).random_(-(2**63), None)))
    return bits


def look_up(codes: Tensor, layer: Conv1d, positions: int) -> Tensor:
    """Convolve one-hot sequences in float32, by looking up three bases at a time.

    Parameters
    ----------
    codes : torch.Tensor, shape=(n, length), uint8
        A, C, G, T = 0..3, 4 where no base is.
    layer : Conv1d
        Of 4 inputs, stride 1 and dilation 1.
    positions : int
        Length of the result.
    """
    out: Tensor = _FirstConvolution.apply(codes, layer.weight, layer.bias, layer.pad[0], positions)  # type: ignore[no-untyped-call]
    return out


def highest(
    codes: Tensor, weight: Tensor, bias: Tensor, left: int, first: int, stop: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Find where the convolution of one-hot sequences is highest, without its map.

    Parameters
    ----------
    codes : torch.Tensor, shape=(n, length), uint8
        A, C, G, T = 0..3, 4 where no base is.
    weight, bias : torch.Tensor, shape=(outputs, 4, taps) and (outputs,), float32
        Of stride 1 and dilation 1.
    left : int
        Padding on the left.
    first, stop : int
        Positions that count.

    Returns
    -------
    highest, place : torch.Tensor, shape=(n, outputs), float32 and int64
        The leftmost highest value of each sequence, and its position.
    lowest : torch.Tensor, shape=(outputs,), float32
        Of all sequences.
    """
    (n, length), (outputs, _, taps) = codes.shape, weight.shape
    best, places = torch.empty(n, outputs), torch.empty(n, outputs, dtype=torch.int32)
    lowest = torch.full((outputs,), torch.inf)
    rest = (n, length, first, stop, outputs, taps, left)
    call("first_highest", codes.contiguous(), weight.contiguous(), bias, best, places, lowest, *rest)
    return best, places.long() + first, lowest


def convolve(x: Tensor, layer: Conv1d) -> Tensor:
    """Convolve x : (n, in_channels, length), float32; torch's kernels but for the gradient of the weights."""
    out: Tensor = _Convolution.apply(x, layer.weight, layer.bias, layer)  # type: ignore[no-untyped-call]
    return out


def drop(x: Tensor, bits: Tensor, threshold: int, scale: float, dtype: torch.dtype) -> Tensor:
    """Zero the elements of x : (n, channels, length) whose int16 bits are below the threshold, scale the others."""
    out: Tensor = _Drop.apply(x, bits, threshold, scale, dtype)  # type: ignore[no-untyped-call]
    return out


def normalize(
    x: Tensor,
    norm: BatchNorm1d,
    steps: Steps,
    dtype: torch.dtype,
    *,
    bits: Tensor | None,
    other: Tensor | None,
    pool: tuple[int, int] | None = None,
) -> Tensor:
    """Batch norm by the statistics of the batch, with what comes before and after it.

    Parameters
    ----------
    x : torch.Tensor, shape=(n, channels, length), float32 or bfloat16
        Input.
    norm : BatchNorm1d
        Its running statistics are moved.
    steps : Steps
        What the kernel does beside.
    dtype : torch.dtype
        Of the result; bfloat16 where x is.
    bits : torch.Tensor, shape=(x.numel(),), int16, or None
        Of the dropout.
    other : torch.Tensor, of the shape of x and the type of the result, or None
        What ADD_RELU adds.
    pool : tuple of int, optional
        Positions of a window, MOST_POOLED at most, and number of windows whose largest values are the result.
    """
    arguments = (x, norm.weight, norm.bias, norm, steps, bits, other, dtype)
    out: Tensor = _Norm.apply(*arguments) if pool is None else _NormPool.apply(*arguments, *pool)  # type: ignore[no-untyped-call]
    return out


def pool(x: Tensor, window: int, windows: int) -> Tensor:
    """Largest value of each of `windows` windows of x : (n, channels, length), of MOST_POOLED positions at most."""
    out: Tensor = _Pool.apply(x, window, windows)  # type: ignore[no-untyped-call]
    return out
