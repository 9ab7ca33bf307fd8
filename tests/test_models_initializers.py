"""Initial weights have the moments that Keras' formulas state."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis, truncnorm
from torch import nn

from tuner.models.architectures import build_model
from tuner.models.initializers import INITIALIZERS

# A first layer of 2048 filters of 19 bp: 155,648 weights, fan_in 4 * 19, fan_out 2048 * 19.
SHAPE = (2048, 4, 19)
FAN_IN, FAN_OUT = 4 * 19, 2048 * 19
SIGMA = 0.3
STD = {
    "glorot": math.sqrt(2 / (FAN_IN + FAN_OUT)),
    "he": math.sqrt(2 / FAN_IN),
    "lecun": math.sqrt(1 / FAN_IN),
    "normal": SIGMA,
    # Keras' TruncatedNormal is not widened; sd of a standard normal cut at +-2, by scipy.
    "truncated": SIGMA * float(truncnorm(-2, 2).std()),
}


def draw(name: str, seed: int = 0) -> np.ndarray:
    weight = torch.empty(SHAPE)
    INITIALIZERS[name](weight, torch.Generator().manual_seed(seed), SIGMA)
    return weight.numpy().astype(np.float64)


def test_the_table_holds_the_published_initializers() -> None:
    families = {f"{family}_{law}" for family in ("glorot", "he", "lecun") for law in ("normal", "uniform")}
    assert set(INITIALIZERS) == {*families, "normal", "truncated_normal"}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_mean_and_standard_deviation_are_those_stated(name: str) -> None:
    weight = draw(name)
    std = STD[name.split("_")[0]]
    assert weight.size >= 100_000
    assert weight.std() == pytest.approx(std, rel=0.02)
    assert abs(weight.mean()) < 4 * std / math.sqrt(weight.size)


# Excess kurtosis of the uniform is -6/5. Of a normal cut at +-2: variance v = 1 - 4 phi(2) / P, fourth moment
# 3 v - 8 phi(2) * 2 / P with phi(2) = .05399 and P = .95450, so (1.41644 / .77374^2) - 3 = -.634.
@pytest.mark.parametrize(
    ("law", "expected"),
    [("_uniform", -1.2), ("_normal", -0.634), ("normal", 0.0)],
    ids=["uniform", "cut", "free"],
)
def test_shape_of_the_distribution_is_that_of_its_law(law: str, expected: float) -> None:
    names = [n for n in INITIALIZERS if n == law or (n.endswith(law) and law.startswith("_"))]
    assert names
    for name in names:
        assert kurtosis(draw(name), axis=None) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", [n for n in INITIALIZERS if n.endswith("_normal")])
def test_truncated_normals_stop_at_two_standard_deviations_before_truncation(name: str) -> None:
    limit = 2 * STD[name.split("_")[0]] / float(truncnorm(-2, 2).std())
    assert 0.99 * limit < np.abs(draw(name)).max() <= limit * (1 + 1e-6)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_same_generator_state_gives_the_same_weights(name: str) -> None:
    np.testing.assert_array_equal(draw(name, seed=7), draw(name, seed=7))
    assert not np.array_equal(draw(name, seed=7), draw(name, seed=8))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_a_dense_kernel_counts_its_inputs_and_outputs(name: str) -> None:
    weight = torch.empty(1000, 400)
    INITIALIZERS[name](weight, torch.Generator().manual_seed(0), SIGMA)
    expected = {
        "glorot": math.sqrt(2 / 1400),
        "he": math.sqrt(2 / 400),
        "lecun": math.sqrt(1 / 400),
        "normal": SIGMA,
        "truncated": STD["truncated"],
    }
    assert weight.std().item() == pytest.approx(expected[name.split("_")[0]], rel=0.02)


def moments(weight: torch.Tensor) -> tuple[float, float]:
    """Mean in standard deviations, and standard deviation, of 100,000 weights or more."""
    assert weight.numel() >= 100_000
    values = weight.detach().double()
    return (values.mean() / values.std()).item(), values.std().item()


def test_a_wide_residualbind_starts_as_keras_starts_it() -> None:
    # Residual 160 -> 160 (5 bp), then 160 -> 192 (7 bp), 192 -> 256 (3 bp) and one position left, dense 256 -> 800.
    settings = {"architecture": "residualbind", "filters": 160, "width": 4.0, "dense_units": 800}
    network = build_model(settings, n_tasks=1, length=400, seed=0)
    kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    _first, *residual, second, third, dense, _output = kernels
    expected = [
        *((kernel, math.sqrt(2 / (160 * 5))) for kernel in residual),  # He normal
        (second, math.sqrt(2 / (160 * 7 + 192 * 7))),  # Glorot uniform from here on
        (third, math.sqrt(2 / (192 * 3 + 256 * 3))),
        (dense, math.sqrt(2 / (256 + 800))),
    ]
    assert len(residual) == 2
    for kernel, std in expected:
        mean, found = moments(kernel)
        assert found == pytest.approx(std, rel=0.02)
        assert abs(mean) < 0.02
    for kernel in (second, third, dense):  # uniform: nothing beyond sqrt(3) standard deviations
        assert kernel.abs().max().item() <= math.sqrt(3) * 1.02 * kernel.std().item()
    for kernel in residual:  # truncated: nothing beyond 2 / .8796 of them, but beyond sqrt(3)
        assert 2.2 < (kernel.abs().max() / kernel.std()).item() < 2 / 0.8796 * 1.02


def test_a_wide_sigtfb_starts_normal_with_zero_biases() -> None:
    network = build_model(
        {"architecture": "sigtfb", "filters": 2048, "dense_units": 512}, n_tasks=200, length=101, seed=0
    )
    layers = [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    for layer, std in zip(layers, (1.0, 0.01, 0.01), strict=True):
        mean, found = moments(layer.weight)
        assert found == pytest.approx(std, rel=0.02)
        assert abs(mean) < 0.02
        assert kurtosis(layer.weight.detach().numpy(), axis=None) == pytest.approx(0, abs=0.05)  # not truncated
        assert not layer.bias.any()
