"""Initial weights have the moments that Keras' formulas state."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis

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
}


def draw(name: str, seed: int = 0) -> np.ndarray:
    weight = torch.empty(SHAPE)
    INITIALIZERS[name](weight, torch.Generator().manual_seed(seed), SIGMA)
    return weight.numpy().astype(np.float64)


def test_the_table_holds_the_published_initializers() -> None:
    families = {f"{family}_{law}" for family in ("glorot", "he", "lecun") for law in ("normal", "uniform")}
    assert set(INITIALIZERS) == {*families, "normal"}


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
def test_truncated_normals_stop_at_two_of_their_own_standard_deviations(name: str) -> None:
    limit = 2 * STD[name.split("_")[0]] / 0.87962566103423978
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
    }
    assert weight.std().item() == pytest.approx(expected[name.split("_")[0]], rel=0.02)
