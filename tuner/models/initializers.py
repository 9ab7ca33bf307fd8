"""Initial weights, as Keras defines them.

The ``*_normal`` rows are truncated normals: values beyond two standard deviations are drawn again, and the
standard deviation before truncation is divided by .8796 so that afterwards it is the one stated. In
``truncated_normal`` alone it is not: there `sigma` is that before truncation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal truncated at -2 and 2, as Keras writes it."""


def fans(weight: Tensor) -> tuple[int, int]:
    """Count the inputs and outputs of one unit.

    Parameters
    ----------
    weight : torch.Tensor, shape=(outputs, inputs, kernel_size) or (outputs, inputs)
        Kernel of a convolution or a dense layer.

    Returns
    -------
    tuple of int
        inputs * kernel_size and outputs * kernel_size.
    """
    field = math.prod(weight.shape[2:])
    return weight.shape[1] * field, weight.shape[0] * field


def glorot_std(fan_in: int, fan_out: int, sigma: float) -> float:
    """sqrt(2 / (fan_in + fan_out)); Glorot & Bengio 2010."""
    return math.sqrt(2.0 / (fan_in + fan_out))


def he_std(fan_in: int, fan_out: int, sigma: float) -> float:
    """sqrt(2 / fan_in); He et al. 2015."""
    return math.sqrt(2.0 / fan_in)


def lecun_std(fan_in: int, fan_out: int, sigma: float) -> float:
    """sqrt(1 / fan_in); LeCun et al. 1998."""
    return math.sqrt(1.0 / fan_in)


def stated_std(fan_in: int, fan_out: int, sigma: float) -> float:
    """Sigma itself, whatever the size of the layer."""
    return sigma


def cut_std(fan_in: int, fan_out: int, sigma: float) -> float:
    """Standard deviation of a normal of width sigma truncated at two sigma: .8796 sigma."""
    return sigma * TRUNCATED_STD


def draw_uniform(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Fill from a uniform distribution on +-sqrt(3) std."""
    bound = math.sqrt(3.0) * std
    nn.init.uniform_(weight, -bound, bound, generator=generator)


def draw_truncated(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Fill from a normal truncated at two standard deviations whose standard deviation is std."""
    wide = std / TRUNCATED_STD
    nn.init.trunc_normal_(weight, 0.0, wide, -2.0 * wide, 2.0 * wide, generator=generator)


def draw_normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Fill from a normal distribution, not truncated."""
    nn.init.normal_(weight, 0.0, std, generator=generator)


@dataclass(frozen=True)
class Initializer:
    """A row of the table of initializers; calling it fills a weight in place.

    Parameters
    ----------
    std : callable
        (fan_in, fan_out, sigma) -> standard deviation of the weights; their mean is 0.
    draw : callable
        (weight, std, generator) -> None.
    needs_sigma : bool
        Whether `initializer_sigma` means anything.
    note : str
        The formula.
    """

    std: Callable[[int, int, float], float]
    draw: Callable[[Tensor, float, torch.Generator], None]
    needs_sigma: bool
    note: str

    def __call__(self, weight: Tensor, generator: torch.Generator, sigma: float = math.nan) -> None:
        """Fill `weight` in place with draws from `generator`."""
        self.draw(weight, self.std(*fans(weight), sigma), generator)


INITIALIZERS: Mapping[str, Initializer] = MappingProxyType(
    {
        "glorot_uniform": Initializer(glorot_std, draw_uniform, False, "uniform, std sqrt(2 / (fan_in + fan_out))"),
        "glorot_normal": Initializer(
            glorot_std, draw_truncated, False, "truncated normal, std sqrt(2 / (fan_in + fan_out))"
        ),
        "he_uniform": Initializer(he_std, draw_uniform, False, "uniform, std sqrt(2 / fan_in)"),
        "he_normal": Initializer(he_std, draw_truncated, False, "truncated normal, std sqrt(2 / fan_in)"),
        "lecun_uniform": Initializer(lecun_std, draw_uniform, False, "uniform, std sqrt(1 / fan_in)"),
        "lecun_normal": Initializer(lecun_std, draw_truncated, False, "truncated normal, std sqrt(1 / fan_in)"),
        "normal": Initializer(stated_std, draw_normal, True, "normal, std initializer_sigma"),
        "truncated_normal": Initializer(
            cut_std, draw_truncated, True, "normal of std initializer_sigma, truncated at twice that"
        ),
    }
)
"""Name -> initializer. Keras' VarianceScaling, RandomNormal and TruncatedNormal."""
