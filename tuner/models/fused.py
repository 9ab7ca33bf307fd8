"""The compiled kernels as differentiable functions of (n, channels, length) tensors in channels-last memory.

Callers ensure that the library is loaded and that the kernels can process the tensors (`tuner.models.compiled`).
Activation maps are float32, or bfloat16 after the first activation if a network trains in bfloat16; weights and
statistics are always float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tuner.models.kernels import call
from tuner.models.layers import KERAS_MOMENTUM, BatchNorm1d, Conv1d, channels_last

# Operations that a batch norm's kernel can apply after the norm, numbered as in norms.cpp.
NOTHING, RELU, EXPONENTIAL, ADD_RELU = range(4)

MOST_POOLED = 255  # largest pooling window in positions: the place of the maximum is stored in one byte


class Steps(NamedTuple):
    """Operations that a batch norm's kernel computes together with the norm.

    Attributes
    ----------
    before : bool
        Whether the input passes through a ReLU before the norm.
    after : int
        Operation after the norm: NOTHING, RELU, EXPONENTIAL or ADD_RELU.
    drop : bool
        Whether dropout is applied last.
    factor : float
        Factor that multiplies the input of the exponential.
    threshold : int
        Dropout sets an element to 0 if its random bits, read as an int16, are below this number.
    scale : float
        Factor that multiplies the elements that dropout keeps.
    """

    before: bool
    after: int
    drop: bool = False
    factor: float = 1.0
    threshold: int = 0
    scale: float = 1.0


def _types(x: Tensor, y: Tensor) -> int:
    """Number that stands in maps.hpp for the types of an input and an output."""
    return (x.dtype is torch.bfloat16) + (y.dtype is torch.bfloat16)


def _wide(x: Tensor) -> int:
    return int(x.dtype is torch.float32)


class _FirstConvolution(torch.autograd.Function):
    """Convolution of one-hot sequences, given as codes of shape (n, length), with 4 for an unknown base (N)."""

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
    """conv2d of height 1 in float32, whose weight gradient is computed by our kernel."""

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
    """Dropout that saves the random bits for the backward pass instead of a mask of floats."""

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
    """[ReLU], batch norm with the statistics of the batch, [ReLU, exponential, or sum and ReLU], [dropout].

    For the backward pass it saves input and output; the random bits only if the output does not show what was dropped.
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
    """_Norm and a max pool in one; neither the map between them nor its gradient is ever stored."""

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
    """Update the norm's running statistics, and return slope, offset, mean and 1 / deviation of each channel."""
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
    """Types and operations, in the order in which they end the argument list of a norm's kernels."""
    return types, int(steps.before), steps.after, int(steps.drop), steps.factor, steps.threshold, steps.scale


class _Pool(torch.autograd.Function):
    """Max pool with windows of at most MOST_POOLED positions; saves the place of each maximum in one byte."""

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
    """Draw 16 bits for each of `size` elements, shape=(size,), int16; seeded from torch's global generator."""
    bits = torch.empty(size, dtype=torch.int16)
    call("random_bits", bits, size, int(torch.empty((), dtype=torch.int64).random_(-(2**63), None)))
    return bits


def look_up(codes: Tensor, layer: Conv1d, positions: int) -> Tensor:
    """Convolve one-hot sequences in float32, by looking up three bases at a time in a table.

    Parameters
    ----------
    codes : torch.Tensor, shape=(n, length), uint8
        A, C, G, T = 0..3, and 4 for an unknown base (N).
    layer : Conv1d
        A convolution of 4 input channels with stride 1 and dilation 1.
    positions : int
        Number of positions of the result.
    """
    out: Tensor = _FirstConvolution.apply(codes, layer.weight, layer.bias, layer.pad[0], positions)  # type: ignore[no-untyped-call]
    return out


def highest(
    codes: Tensor, weight: Tensor, bias: Tensor, left: int, first: int, stop: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Find where the convolution of one-hot sequences is highest, without storing its output.

    Parameters
    ----------
    codes : torch.Tensor, shape=(n, length), uint8
        A, C, G, T = 0..3, and 4 for an unknown base (N).
    weight, bias : torch.Tensor, shape=(outputs, 4, taps) and (outputs,), float32
        Weights and biases of a convolution with stride 1 and dilation 1.
    left : int
        Number of zeros on the left of the sequence.
    first, stop : int
        Range of output positions that are searched, from `first` to before `stop`.

    Returns
    -------
    highest, place : torch.Tensor, shape=(n, outputs), float32 and int64
        Highest value in each sequence, and its position (the leftmost of equal ones).
    lowest : torch.Tensor, shape=(outputs,), float32
        Lowest value of each output over all sequences.
    """
    (n, length), (outputs, _, taps) = codes.shape, weight.shape
    best, places = torch.empty(n, outputs), torch.empty(n, outputs, dtype=torch.int32)
    lowest = torch.full((outputs,), torch.inf)
    rest = (n, length, first, stop, outputs, taps, left)
    call("first_highest", codes.contiguous(), weight.contiguous(), bias, best, places, lowest, *rest)
    return best, places.long() + first, lowest


def convolve(x: Tensor, layer: Conv1d) -> Tensor:
    """Convolve x : (n, in_channels, length), float32, by torch's kernels except for the gradient of the weights."""
    out: Tensor = _Convolution.apply(x, layer.weight, layer.bias, layer)  # type: ignore[no-untyped-call]
    return out


def drop(x: Tensor, bits: Tensor, threshold: int, scale: float, dtype: torch.dtype) -> Tensor:
    """Set the elements of x : (n, channels, length) whose int16 bits are below the threshold to 0; scale the others."""
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
    """Batch norm by the statistics of the batch, together with the operations before and after it.

    Parameters
    ----------
    x : torch.Tensor, shape=(n, channels, length), float32 or bfloat16
        Input.
    norm : BatchNorm1d
        The layer; its running statistics are updated.
    steps : Steps
        Operations before and after the norm.
    dtype : torch.dtype
        Type of the result; must be bfloat16 if `x` is.
    bits : torch.Tensor, shape=(x.numel(),), int16, or None
        Random bits of the dropout; None without dropout.
    other : torch.Tensor, of the shape of x and the type of the result, or None
        Summand of ADD_RELU; None for other operations.
    pool : tuple of int, optional
        Window (at most MOST_POOLED positions) and number of windows of a max pool that is applied to the result.
    """
    arguments = (x, norm.weight, norm.bias, norm, steps, bits, other, dtype)
    out: Tensor = _Norm.apply(*arguments) if pool is None else _NormPool.apply(*arguments, *pool)  # type: ignore[no-untyped-call]
    return out


def pool(x: Tensor, window: int, windows: int) -> Tensor:
    """Max pool of x : (n, channels, length) over `windows` windows of at most MOST_POOLED positions."""
    out: Tensor = _Pool.apply(x, window, windows)  # type: ignore[no-untyped-call]
    return out
