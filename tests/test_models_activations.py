"""Every activation is the published formula, finite where batch norm puts its input, and one module."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tuner.models.activations import ACTIVATIONS


def s(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


# Koo & Ploenzke 2021, published code, in NumPy.
FORMULAS = {
    "relu": relu,
    "exponential": np.exp,
    "sigmoid": s,
    "tanh": np.tanh,
    "softplus": lambda x: np.log1p(np.exp(-np.abs(x))) + relu(x),
    "linear": lambda x: x,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "exp_relu": lambda x: relu(np.exp(0.1 * x) - 1),
    "shift_relu": lambda x: relu(x - 0.2),
    "scale_relu": lambda x: relu(x**3),
    "shift_scale_relu": lambda x: relu((x - 0.2) ** 3),
    "shift_sigmoid": lambda x: s(x - 8),
    "scale_sigmoid": lambda x: 4000 * s(x),
    "shift_scale_sigmoid": lambda x: 4000 * s(x - 8),
    "shift_tanh": lambda x: np.tanh(x - 6),
    "scale_tanh": lambda x: 500 * np.tanh(x) + 500,
    "shift_scale_tanh": lambda x: 500 * np.tanh(x - 6) + 500,
    "log": lambda x: np.log(np.abs(x) + 1e-10),
    "log_relu": lambda x: relu(np.log(np.abs(x) + 1e-10)),
}


def test_the_table_holds_the_nineteen_published_activations() -> None:
    assert set(ACTIVATIONS) == set(FORMULAS)
    assert len(ACTIVATIONS) == 19


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_its_formula(name: str) -> None:
    x = np.linspace(-20, 20, 4001).reshape(1, 1, -1)
    found = ACTIVATIONS[name].module()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, FORMULAS[name](x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_and_gradient_are_finite_from_minus_20_to_20(name: str) -> None:
    x = torch.linspace(-20, 20, 4001, requires_grad=True)  # 0 is among them
    y = ACTIVATIONS[name].module()(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_one_module_without_weights(name: str) -> None:
    """A child module would get a DeepLIFT rule of its own beside its parent's."""
    module = ACTIVATIONS[name].module()
    assert isinstance(module, nn.Module)
    assert not list(module.children())
    assert not list(module.parameters())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_deeplift_rule_is_linear_exactly_where_the_activation_is(name: str) -> None:
    x = torch.tensor([-2.0, 0.5, 3.0, 8.0])
    module = ACTIVATIONS[name].module()
    linear = torch.allclose(module(x + 1) - module(x), torch.ones(4)) and torch.allclose(module(2 * x), 2 * module(x))
    assert ACTIVATIONS[name].deeplift == ("linear" if linear else "rescale")


@pytest.mark.parametrize("scale", [0.001, 0.5, 1.0, 3.0])
def test_the_exponential_has_a_scale(scale: float) -> None:
    scaled = ACTIVATIONS["exponential"].scaled
    assert scaled is not None
    x = np.linspace(-5, 5, 101)
    np.testing.assert_allclose(scaled(scale)(torch.from_numpy(x)).numpy(), np.exp(scale * x), rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_table_says_which_activations_never_fall(name: str) -> None:
    x = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
    assert bool((ACTIVATIONS[name].module()(x).diff() >= 0).all()) == ACTIVATIONS[name].monotone
