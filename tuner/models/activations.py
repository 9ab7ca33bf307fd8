"""Activations of the first layer, each one nn.Module.

DeepLIFT replaces the derivative of every module it knows by a difference quotient. It finds modules, not
functions, so no network calls ``torch.exp`` or ``F.relu`` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

KOO = "Koo & Ploenzke 2021, Nat Mach Intell 3:258-266"
"""The constants of the shifted and scaled variants are those of this paper's published code."""


class Exponential(nn.Module):
    """exp(scale * x).

    Parameters
    ----------
    scale : float
        Factor of x inside the exponential; the control of Koo & Ploenzke 2021 varies it from .001 to 5.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula elementwise."""
        return torch.exp(x * self.scale) if self.scale != 1.0 else torch.exp(x)

    def extra_repr(self) -> str:
        """Show the scale."""
        return f"scale={self.scale}"


class ExpReLU(nn.Module):
    """relu(exp(0.1 x) - 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula elementwise."""
        return torch.relu(torch.exp(0.1 * x) - 1.0)


class ShiftScaleReLU(nn.Module):
    """relu((x - shift) ** power).

    Parameters
    ----------
    shift : float
        Subtracted from x.
    power : int
        1 or 3; odd, so that the sign is kept.
    """

    def __init__(self, shift: float, power: int) -> None:
        super().__init__()
        self.shift = shift
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula elementwise."""
        return torch.relu((x - self.shift) ** self.power)

    def extra_repr(self) -> str:
        """Show the constants."""
        return f"shift={self.shift}, power={self.power}"


class ShiftScaleSigmoid(nn.Module):
    """scale * sigmoid(x - shift).

    Parameters
    ----------
    shift, scale : float
        Subtracted from x; factor of the result.
    """

    def __init__(self, shift: float, scale: float) -> None:
        super().__init__()
        self.shift = shift
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula elementwise."""
        return self.scale * torch.sigmoid(x - self.shift)

    def extra_repr(self) -> str:
        """Show the constants."""
        return f"shift={self.shift}, scale={self.scale}"


class ShiftScaleTanh(nn.Module):
    """scale * tanh(x - shift) + offset.

    Parameters
    ----------
    shift, scale, offset : float
        Subtracted from x; factor of the result; added to the result.
    """

    def __init__(self, shift: float, scale: float, offset: float) -> None:
        super().__init__()
        self.shift = shift
        self.scale = scale
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula elementwise."""
        return self.scale * torch.tanh(x - self.shift) + self.offset

    def extra_repr(self) -> str:
        """Show the constants."""
        return f"shift={self.shift}, scale={self.scale}, offset={self.offset}"


class Log(nn.Module):
    """ln(|x| + 1e-10)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula elementwise."""
        return torch.log(x.abs() + 1e-10)


class LogReLU(nn.Module):
    """relu(ln(|x| + 1e-10))."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula elementwise."""
        return torch.relu(torch.log(x.abs() + 1e-10))


@dataclass(frozen=True)
class Activation:
    """A row of the table of activations.

    Parameters
    ----------
    module : callable
        Makes the nn.Module, without arguments.
    deeplift : str
        "rescale" for a nonlinearity (multiplier = difference of outputs / difference of inputs), "linear"
        for what needs no rule.
    note : str
        The formula and what it is for.
    scaled : callable or None
        Makes the nn.Module from `activation_scale`, where the activation has one.
    monotone : bool
        Whether it never falls where its input rises.
    singular : bool
        Whether it magnifies the rounding of an input near 0 so much that float32 is too coarse for DeepSHAP.
    """

    module: Callable[[], nn.Module]
    deeplift: str
    note: str
    scaled: Callable[[float], nn.Module] | None = None
    monotone: bool = True
    singular: bool = False


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation(nn.ReLU, "rescale", "max(x, 0)"),
    "exponential": Activation(
        Exponential,
        "rescale",
        "exp(s x), s = activation_scale; first-layer filters become motifs",
        Exponential,
    ),
    "sigmoid": Activation(nn.Sigmoid, "rescale", "1 / (1 + exp(-x))"),
    "tanh": Activation(nn.Tanh, "rescale", "tanh(x)"),
    "softplus": Activation(nn.Softplus, "rescale", "ln(1 + exp(x))"),
    "linear": Activation(nn.Identity, "linear", "x"),
    "elu": Activation(nn.ELU, "rescale", "x if x > 0 else exp(x) - 1"),
    "exp_relu": Activation(ExpReLU, "rescale", "relu(exp(0.1 x) - 1); an exponential that grows more slowly"),
    "shift_relu": Activation(lambda: ShiftScaleReLU(0.2, 1), "rescale", "relu(x - 0.2)"),
    "scale_relu": Activation(lambda: ShiftScaleReLU(0.0, 3), "rescale", "relu(x^3)"),
    "shift_scale_relu": Activation(
        lambda: ShiftScaleReLU(0.2, 3), "rescale", "relu((x - 0.2)^3); the paper's modified ReLU"
    ),
    "shift_sigmoid": Activation(lambda: ShiftScaleSigmoid(8.0, 1.0), "rescale", "sigmoid(x - 8)"),
    "scale_sigmoid": Activation(lambda: ShiftScaleSigmoid(0.0, 4000.0), "rescale", "4000 sigmoid(x)"),
    "shift_scale_sigmoid": Activation(
        lambda: ShiftScaleSigmoid(8.0, 4000.0),
        "rescale",
        "4000 sigmoid(x - 8); the paper's modified sigmoid",
    ),
    "shift_tanh": Activation(lambda: ShiftScaleTanh(6.0, 1.0, 0.0), "rescale", "tanh(x - 6)"),
    "scale_tanh": Activation(lambda: ShiftScaleTanh(0.0, 500.0, 500.0), "rescale", "500 tanh(x) + 500"),
    "shift_scale_tanh": Activation(
        lambda: ShiftScaleTanh(6.0, 500.0, 500.0),
        "rescale",
        "500 tanh(x - 6) + 500; the paper's modified tanh",
    ),
    "log": Activation(Log, "rescale", "ln(|x| + 1e-10); not monotone", monotone=False, singular=True),
    "log_relu": Activation(LogReLU, "rescale", "relu(ln(|x| + 1e-10)); not monotone", monotone=False, singular=True),
}
"""Name -> activation. Source of every row: Koo & Ploenzke 2021 and its published code."""
