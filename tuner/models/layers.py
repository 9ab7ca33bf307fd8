"""Layers that compute the same as torch.nn's, faster on a CPU, and that DeepLIFT implementations recognise.

PyTorch has no channels-last kernels for (n, channels, length) tensors, only for images. These subclasses
view a sequence as an image of height 1, which keeps the memory channels-last from the one-hot input to the
last pool: a training step of a ResidualBind takes 0.6 of the time.

The classes have the names of torch.nn's because shap.DeepExplainer looks up its rule by the name of the class.
tangermeme looks it up by the class itself, so it must be told about :class:`MaxPool1d`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

KERAS_MOMENTUM = 0.01
"""Keras' BatchNormalization keeps .99 of its running statistics; torch's momentum is the fraction that is replaced."""
KERAS_EPSILON = 1e-3


def same_padding(length: int, kernel_size: int, *, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Number of zeros on the left and right that make the output ``ceil(length / stride)`` long.

    Parameters
    ----------
    length : int
        Length of the input (only its remainder by `stride` matters).
    kernel_size, stride, dilation : int
        Settings of the convolution.

    Returns
    -------
    tuple of int
        (left, right). At stride 1 that is (k - 1) // 2 and k // 2, so that an even kernel gets its extra
        zero on the right, as TensorFlow pads.
    """
    reach = dilation * (kernel_size - 1) + 1
    total = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return total // 2, total - total // 2


def channels_last(x: Tensor) -> Tensor:
    """Give a (n, channels, length) tensor channels-last strides, without a copy if it has them already."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last).squeeze(2)


class Conv1d(nn.Conv1d):
    """torch.nn.Conv1d with separate left and right padding.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
        As in torch.nn.Conv1d.
    pad : tuple of int
        Number of zeros on the left and on the right of the sequence.
    stride, dilation : int
        As in torch.nn.Conv1d.
    bias : bool
        As in torch.nn.Conv1d.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        pad: tuple[int, int] = (0, 0),
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, bias=bias)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x : (n, in_channels, length)."""
        return self.convolve(x, self.weight, self.bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve x : (n, in_channels, length) with other weights of the same shape."""
        left, right = self.pad
        image = x.unsqueeze(2)  # (n, in_channels, 1, length)
        if left != right:
            image, left = F.pad(image, (left, right)), 0
        image = F.conv2d(
            image,
            weight.unsqueeze(2),
            bias,
            (1, self.stride[0]),
            (0, left),
            (1, self.dilation[0]),
        )
        return image.squeeze(2)

    def extra_repr(self) -> str:
        """Describe the layer, including its padding."""
        return f"{self.in_channels}, {self.out_channels}, {self.kernel_size[0]}, pad={self.pad}"


class _ExactStatistics(torch.autograd.Function):
    """Batch norm of channels-last images on a CPU, with statistics that are exact to the last bits of float32.

    If the memory is channels-last, torch adds up the values of a channel one after the other in float32. With 40,000
    values the mean is off by 1e-5, which changes what later ReLUs and pools select, and gradients are off by 2 %.
    torch's `sum`, which adds in blocks, computes the statistics here; the rest is done by its batch norm kernels.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: BatchNorm1d) -> Tensor:
        rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        n = len(rows)
        mean = rows.sum(0).div_(n)
        variance = (rows - mean).square_().sum(0).div_(n)
        if layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.lerp_(mean, KERAS_MOMENTUM)
            layer.running_var.lerp_(variance * (n / max(n - 1, 1)), KERAS_MOMENTUM)
        ctx.save_for_backward(x, weight, mean, (variance + layer.eps).rsqrt())
        ctx.eps = layer.eps
        y: Tensor = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, layer.eps)[0]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(memory_format=torch.channels_last), x, weight, None, None, mean, inverse, True, ctx.eps,
            [True, True, True],
        )  # fmt: skip
        return *found, None


class BatchNorm1d(nn.BatchNorm1d):
    """torch.nn.BatchNorm1d with Keras' momentum and epsilon, for (n, features) and (n, channels, length)."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, eps=KERAS_EPSILON, momentum=KERAS_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel by the statistics of the batch (training) or the running statistics (evaluation)."""
        if x.dim() == 2:
            return super().forward(x)
        image = x.unsqueeze(2)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if self.training and x.device.type == "cpu" and x.dtype is self.weight.dtype:
            out: Tensor = _ExactStatistics.apply(image, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
            return out.squeeze(2)
        return F.batch_norm(
            image,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            KERAS_MOMENTUM,
            self.eps,
        ).squeeze(2)


class MaxPool1d(nn.MaxPool1d):
    """torch.nn.MaxPool1d without overlap; `ceil_mode` pads the last window with minus infinity.

    Windows never overlap, because shap's DeepLIFT rule is silently wrong for overlapping windows.
    """

    def __init__(self, kernel_size: int, *, ceil_mode: bool = False) -> None:
        super().__init__(kernel_size, stride=kernel_size, ceil_mode=ceil_mode)
        self.window = (1, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Take the maximum of each window of x : (n, channels, length)."""
        pooled = F.max_pool2d(x.unsqueeze(2), self.window, self.window, ceil_mode=self.ceil_mode).squeeze(2)
        if self.training and pooled.requires_grad:
            # Flattening gives the gradient another memory layout than the input's; all earlier layers would copy it.
            pooled.register_hook(channels_last)  # type: ignore[no-untyped-call]
        return pooled


class AvgPool1d(nn.AvgPool1d):
    """torch.nn.AvgPool1d without overlap."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__(kernel_size, stride=kernel_size)
        self.window = (1, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Average each window of x : (n, channels, length)."""
        return F.avg_pool2d(x.unsqueeze(2), self.window, self.window).squeeze(2)


def random_bits(size: int) -> Tensor:
    """Draw 16 bits for each of `size` elements, shape=(size,), int16; seeded from torch's global generator.

    NumPy's SFC64 draws 64 bits in half the time of torch's Mersenne twister.
    """
    seed = int(torch.empty((), dtype=torch.int64).random_(-(2**63), None))
    generator = np.random.Generator(np.random.SFC64(seed % 2**64))
    words = generator.integers(2**64, size=(size + 3) // 4, dtype=np.uint64)
    return torch.from_numpy(words.view(np.int16)[:size])


class _Drop(torch.autograd.Function):
    """x * keep * scale, where keep is a mask of 0 and 1; the scale is not rounded to the type of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return (x * keep).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (gradient * ctx.saved_tensors[0]).mul_(ctx.scale), None, None


class Dropout(nn.Dropout):
    """torch.nn.Dropout that draws only 16 random bits per element on a CPU, where drawing takes most of the time.

    The rate is rounded to a multiple of 1 / 65536 and the scale is that of the rounded rate, so the expected
    output is the input. Forward and backward take under half the time of torch.nn.Dropout.
    """

    @property
    def threshold(self) -> int:
        """How many of the 65536 values of 16 random bits drop an element."""
        return round(self.p * 65536)

    @property
    def scale(self) -> float:
        """Factor that multiplies the elements that are kept."""
        return 65536 / (65536 - self.threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability p and scale the others by 1 / (1 - p), in training only."""
        if not self.training or self.threshold == 0:
            return x
        dense = x.is_contiguous() or (x.dim() == 3 and x.transpose(1, 2).is_contiguous())
        if x.device.type != "cpu" or not dense:
            return F.dropout(x, self.p, training=True)
        bits = random_bits(x.numel())
        keep = torch.ge(bits, self.threshold - 32768, out=torch.empty(bits.shape, dtype=x.dtype))
        out: Tensor = _Drop.apply(x, keep.as_strided(x.shape, x.stride()), self.scale)  # type: ignore[no-untyped-call]
        return out
