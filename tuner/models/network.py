"""A network for one-hot sequences, built from a plan.

Every nonlinearity is a module of its own that is used once, pools do not overlap, and pools over the whole length
are pools with a window of that length. DeepLIFT is correct for such networks, and silently wrong for other ways to
write the same function.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tuner.errors import ModelError
from tuner.models import compiled
from tuner.models.activations import ACTIVATIONS
from tuner.models.hyperparameters import HYPERPARAMETERS
from tuner.models.initializers import INITIALIZERS
from tuner.models.layers import (
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    Dropout,
    MaxPool1d,
    channels_last,
    same_padding,
)
from tuner.models.plan import Plan

RESIDUAL_KERNEL = 5
"""Kernel size of the convolutions in a residual block, as in ResidualBind (Koo & Ploenzke 2021)."""


class Residual(nn.Module):
    """A residual block of two convolutions, as in ResidualBind.

    Each convolution is followed first by ReLU and then by batch norm: relu(x + norm(relu(conv(relu(norm(
    relu(conv(x)))))))).

    Parameters
    ----------
    channels : int
        Number of channels of input and output.
    dilation : int
        Dilation of both convolutions.
    batch_norm, bias : bool
        As in :class:`Plan`.
    """

    def __init__(self, channels: int, dilation: int, *, batch_norm: bool, bias: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        pad = same_padding(1, RESIDUAL_KERNEL, dilation=dilation)
        for last in (False, True):
            layers.append(
                Conv1d(
                    channels,
                    channels,
                    RESIDUAL_KERNEL,
                    pad=pad,
                    dilation=dilation,
                    bias=bias and not batch_norm,
                )
            )
            layers.append(nn.ReLU())
            if batch_norm:
                layers.append(BatchNorm1d(channels))
                if not last:
                    layers.append(nn.ReLU())
        self.branch = nn.Sequential(*layers)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, length) to the same shape."""
        return compiled.run_residual(self.branch, x, self.activation)

    def forward_pooled(self, x: Tensor, pool: MaxPool1d) -> Tensor:
        """Map (n, channels, length) to the output of `pool`, which follows the block."""
        return compiled.run_residual(self.branch, x, self.activation, pool)


class MaxAverage(nn.Module):
    """Concatenate the maximum and the average of each channel over the whole length."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.maximum = MaxPool1d(length)
        self.average = AvgPool1d(length)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, length) to (n, 2 channels, 1)."""
        return torch.cat([self.maximum(x), self.average(x)], dim=1)


class Network(nn.Module):
    """A network built from a plan; `head` ends with the first activation, and `tail` begins after it.

    Parameters
    ----------
    plan : Plan
        Layers of the network.
    n_tasks : int
        Number of logits per sequence.
    length : int, bp
        Length of the sequences.

    Attributes
    ----------
    first_convolution : nn.Conv1d
        The first convolution. Its weights, shape=(n_filters, 4, kernel_size), are the filters read as motifs.
    first_activation : nn.Module
        The first activation. Its input is the pre-activation, its output the first activation map.
    offset : int
        Left padding of the first convolution: position p of the map reads the sequence from p - offset.

    Raises
    ------
    ModelError
        If the plan is not possible for this length; names the hyperparameter.
    """

    first_convolution: Conv1d
    first_activation: nn.Module
    offset: int

    def __init__(self, plan: Plan, *, n_tasks: int, length: int) -> None:
        super().__init__()
        first = plan.stages[0]
        if first.kernel_size > length:
            raise ModelError(
                f"kernel_size {first.kernel_size} is longer than the sequences ({length} bp). "
                f"Use a kernel_size of at most {length}."
            )
        self.plan, self.n_tasks, self.length = plan, n_tasks, length
        pad = same_padding(length, first.kernel_size) if first.padding == "same" else (0, 0)
        self.offset = pad[0]
        self.first_convolution = Conv1d(
            4,
            first.filters,
            first.kernel_size,
            pad=pad,
            bias=plan.bias and not plan.batch_norm_first,
        )
        self.first_batch_norm = BatchNorm1d(first.filters) if plan.batch_norm_first else None
        self.first_activation = _activation(plan)
        self.body, features = _body(plan, length + sum(pad) - first.kernel_size + 1)
        self.output = nn.Linear(features, n_tasks)

    def preactivate(self, x: Tensor) -> Tensor:
        """Compute the input of the first activation, in float32 even under autocast.

        Parameters
        ----------
        x : torch.Tensor, shape=(n, 4, length)
            One-hot sequences.

        Returns
        -------
        torch.Tensor, shape=(n, n_filters, positions), float32
        """
        # With x in half precision, exp(x) and x^3 are off by several percent, and overflow in float16.
        with torch.autocast(x.device.type, enabled=False):
            x = channels_last(x.to(self.first_convolution.weight.dtype))
            if self.first_batch_norm is None:
                return compiled.run((self.first_convolution,), x)
            return compiled.run((self.first_convolution, self.first_batch_norm), x)

    def head(self, x: Tensor) -> Tensor:
        """Compute the first activation map, shape=(n, n_filters, positions), float32, before dropout."""
        h = self.preactivate(x)
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.first_activation(h)
        return out

    def tail(self, h: Tensor) -> Tensor:
        """Compute logits, shape=(n, n_tasks), float32, from the first activation map."""
        out: Tensor = self.output(compiled.run(self.body, h))
        return out.to(self.output.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits, shape=(n, n_tasks), float32, from one-hot sequences, shape=(n, 4, length)."""
        if not compiled.in_use(self):
            return self.tail(self.head(x))
        norm = () if self.first_batch_norm is None else (self.first_batch_norm,)
        layers = (self.first_convolution, *norm, self.first_activation, *self.body)
        out: Tensor = self.output(compiled.run(layers, channels_last(x.to(self.first_convolution.weight.dtype))))
        return out

    def l2_penalty(self) -> Tensor:
        """Sum of squared weights over the kernels of all layers except the output layer, without the recipe's factor.

        Biases and batch norm are not penalised, as in Keras. The first convolution is weighted with `l2_first`.
        """
        total = self.plan.l2_first * self.first_convolution.weight.square().sum()
        for module in self.body.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                total = total + module.weight.square().sum()
        return total

    def initialize(self, generator: torch.Generator) -> None:
        """Draw all weights with `generator`; biases become 0."""
        plan = self.plan
        first = INITIALIZERS[plan.initializer]
        residual = {id(m) for r in self.modules() if isinstance(r, Residual) for m in r.modules()}
        for module in self.modules():
            if not isinstance(module, nn.Conv1d | nn.Linear):
                continue
            if module is self.first_convolution:
                first(module.weight, generator, plan.initializer_sigma)
            elif plan.deep_sigma > 0:
                INITIALIZERS["normal"](module.weight, generator, plan.deep_sigma)
            else:
                name = "he_normal" if id(module) in residual else "glorot_uniform"
                INITIALIZERS[name](module.weight, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, value in plan.tuned:
            tune = HYPERPARAMETERS[name].tune
            if tune is not None:
                tune(self, value, generator)


def _activation(plan: Plan) -> nn.Module:
    row = ACTIVATIONS[plan.activation]
    if plan.activation_scale == 1.0:
        return row.module()
    if row.scaled is None:
        scalable = ", ".join(name for name, a in ACTIVATIONS.items() if a.scaled)
        raise ModelError(
            f"activation_scale is {plan.activation_scale}, but activation {plan.activation!r} has no scale. "
            f"Leave activation_scale out, or use one of these activations: {scalable}."
        )
    return row.scaled(plan.activation_scale)


def _body(plan: Plan, length: int) -> tuple[nn.Sequential, int]:
    """Build the layers between the first activation and the output layer; return them and their number of features."""
    layers: list[nn.Module] = []
    channels = 4
    for i, stage in enumerate(plan.stages):
        if i > 0:
            # On short sequences a deeper kernel is shortened to the length that the pools have left.
            kernel = min(stage.kernel_size, length) if stage.padding == "valid" else stage.kernel_size
            pad = (0, 0)
            if stage.padding == "same":
                pad = same_padding(length, kernel, stride=stage.stride)
            bias = plan.bias and not plan.batch_norm
            layers.append(Conv1d(channels, stage.filters, kernel, pad=pad, stride=stage.stride, bias=bias))
            length = (length + sum(pad) - kernel) // stage.stride + 1
            if plan.batch_norm:
                layers.append(BatchNorm1d(stage.filters))
            layers.append(nn.ReLU())
        channels = stage.filters
        dropout = [Dropout(stage.dropout)] if stage.dropout > 0 else []
        if not plan.pool_before_dropout:
            layers.extend(dropout)
        if i == 0:
            for block in range(plan.residual_blocks):
                dilation = 2**block if plan.dilated else 1
                layers.append(Residual(channels, dilation, batch_norm=plan.batch_norm, bias=plan.bias))
        last = i == len(plan.stages) - 1
        pool = 1 if last and plan.global_pool != "flatten" else min(stage.pool, length)
        if pool > 1:
            layers.append(MaxPool1d(pool, ceil_mode=stage.pool_rest))
            length = -(-length // pool) if stage.pool_rest else length // pool
        if plan.pool_before_dropout:
            layers.extend(dropout)
    if plan.global_pool != "flatten":
        module = {"max": MaxPool1d, "average": AvgPool1d, "max_average": MaxAverage}[plan.global_pool]
        layers.append(module(length))
        length = 1
        channels *= 2 if plan.global_pool == "max_average" else 1
    layers.append(nn.Flatten())
    features = channels * length
    for dense in plan.dense:
        layers.append(nn.Linear(features, dense.units, bias=plan.bias and not plan.batch_norm))
        if plan.batch_norm:
            layers.append(BatchNorm1d(dense.units))
        layers.append(nn.ReLU())
        if dense.dropout > 0:
            layers.append(Dropout(dense.dropout))
        features = dense.units
    return nn.Sequential(*layers), features
